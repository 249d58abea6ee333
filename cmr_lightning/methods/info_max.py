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

The critics are no adversaries: they minimise what the encoders minimise, in one optimizer.
Retrieval goes by the cosine of the embeddings, without the critics.

Where this differs from the papers. Deep InfoMax's: estimators and critics, whose JSD and dot product are our defaults.
Gu et al.'s: that such terms stand beside a metric loss, one between text and image, one with a low layer of the image
encoder. Ours: the triplet loss, that of VSE++ as a mean over the batch, in place of that of TIRG; that the low layer,
the second of four levels of maps, is to tell of the text, in place of a fused query; alpha = 0.1, and beta = 0, since
features have no maps; critics see the embeddings as they are, not scaled to length 1, and divide the dot product by
√units; texts of one image, and on class-level data items of one class, are not each other's negatives, and in the terms
of the critics an item's own partner is its one positive.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import Critic, DotProductCritic
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.encoders import TimmEncoder, with_maps
from cmr_lightning.losses import Estimator, mutual_information
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.ranges import CountFromZero


class InfoMax(Triplet):
    """Two encoders trained by a triplet loss and, with critics, by the mutual information of what they make.

    A critic is there only where its term has a weight.

    Args:
        critic: Class and arguments of both critics.
        estimator: Estimator of mutual information: `jsd`, `nce` or `dv`.
        level: The low-level map of the image encoder, by timm's number: 1 to 4 are `layer1` to `layer4` of a ResNet.
        **kwargs: Options of `Triplet`.

    Raises:
        UserError: If `text_map` has a weight and the image encoder makes no feature maps.
    """

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0, "text_image": 0.1, "text_map": 0.0}
    built_on_demand: ClassVar[tuple[str, ...]] = ("text_image", "text_map")

    def __init__(
        self, critic: Critic = DotProductCritic, estimator: Estimator = "jsd", level: CountFromZero = 2, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.estimator: Estimator = estimator
        self.level = level
        self.text_image = critic(self.dim, self.dim) if self.weights["text_image"] != 0 else None
        self.text_map = (
            critic(self.dim, self._mapped_encoder.channels(self.level)) if self.weights["text_map"] != 0 else None
        )

    @property
    def _mapped_encoder(self) -> TimmEncoder:
        need = "InfoMax's term text_map needs a"
        remedy = "set model.weights.text_map to 0, or model.image_encoder to TimmEncoder with a CNN"
        return with_maps(self.image_encoder, need, remedy)

    def embed(self, batch: Batch) -> Embeddings:
        """Embed the pairs of a batch, and keep the `map` `(N, C, h, w)` of each image for its critic."""
        if self.text_map is None:
            return super().embed(batch)
        images, low = self._mapped_encoder.with_map(batch.image, self.level)
        return Embeddings(images, self.embed_texts(batch.text), {"map": low})

    def after_gathering(self) -> list[nn.Module]:
        """List the discriminator and the critics."""
        critics = [self.text_image, self.text_map]
        return super().after_gathering() + [critic for critic in critics if critic is not None]

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms of the objective that have a weight."""
        losses, negatives = super().generator_losses(batch, embeddings), ~self.related(batch)
        if self.text_image is not None:
            scores = self.text_image(embeddings.text, embeddings.image)
            losses["text_image"] = mutual_information(scores, negatives, self.estimator)
        if self.text_map is not None:
            scores = self.text_map(embeddings.text, embeddings.extra["map"])
            losses["text_map"] = mutual_information(scores, negatives, self.estimator)
        return losses
