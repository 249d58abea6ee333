"""InfoMax: the mutual information of an image and its text, raised beside a triplet loss.

Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler, Bengio, "Learning deep representations by mutual
information estimation and maximization" (Deep InfoMax), ICLR 2019, arXiv 1808.06670; between texts and images in Gu,
Bu, Zhou, Yao, Ma, Yu, Yan, "Cross-modal Image Retrieval with Deep Mutual Information Maximization", 2021, arXiv
2103.06032, where an image with a text asks for another image. This is the same term for images and texts that ask for
each other; the short name is ours.

Objective, m_l the vector at place l of a low-level feature map of the image, T and T' critics, u_ij = T(t_i, v_j) and
u'_ijl = T'(t_i, m_jl) their scores, f the softplus:

    triplet     as in `Triplet`
    text_image  mean_i≠j f(u_ij) + mean_i f(-u_ii) - 2 log 2
    text_map    mean_i≠j,l f(u'_ijl) + mean_i,l f(-u'_iil) - 2 log 2

    generator:  min  triplet + alpha text_image + beta text_map,  over encoders and critics

or, with `estimator: nce` or `dv`, the other terms are those of `noise_contrastive` or `donsker_varadhan`.

The critics are no adversaries: they minimise what the encoders minimise, in one optimizer. Retrieval goes by the cosine
of the embeddings, without the critics.

Where this differs from the papers. Deep InfoMax's: estimators and critics, whose JSD and dot product are our defaults.
Gu et al.'s: that such terms stand beside a metric loss, one between text and image, one with a low layer of the image
encoder. Ours: the triplet loss, that of VSE++ as a mean over the batch, in place of that of TIRG; that the low layer,
the second of four levels of maps, is to tell of the text, in place of a fused query; alpha = 0.1, and beta = 0, since
features have no maps; critics see the embeddings as they are, not scaled to length 1, and divide the dot product by
√units; texts of one image, and on class-level data items of one class, are not each other's negatives, and in the terms
of the critics an item's own partner is its one positive.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.informed_retriever import InformedRetriever
from cmr_lightning.methods.triplet import Triplet


class InfoMax(InformedRetriever, Triplet):
    """Two encoders trained by a triplet loss and, with critics, by the mutual information of what they make.

    Args:
        **kwargs: Options of `InformedRetriever` and `Triplet`.

    Raises:
        UserError: If `text_map` has a weight and the image encoder makes no feature maps.
    """

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0, "text_image": 0.1, "text_map": 0.0}
    informed: ClassVar[Mapping[str, tuple[str, str]]] = {"text_image": ("text", "image"), "text_map": ("text", "map")}
    built_on_demand: ClassVar[tuple[str, ...]] = tuple(informed)

    def embed(self, batch: Batch) -> Embeddings:
        """Embed the pairs of a batch, and keep the `map` `(N, C, h, w)` of each image for its critic."""
        if self.text_map is None:
            return super().embed(batch)
        images, low = self.mapped_encoder.with_map(batch.image, self.level)
        return Embeddings(images, self.embed_texts(batch.text), {"map": low})

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms of the objective that have a weight."""
        losses, negatives = super().generator_losses(batch, embeddings), ~self.related(batch)
        return {**losses, **self.information(embeddings, negatives)}
