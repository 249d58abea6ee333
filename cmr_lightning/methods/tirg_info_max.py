"""TIRG with Deep InfoMax: composed retrieval that raises mutual information in two places.

Gu, Bu, Zhou, Yao, Ma, Yu, Yan, "Cross-modal Image Retrieval with Deep Mutual Information Maximization", 2021, arXiv
2103.06032.

Objective, x the source image, t the text, q = fusion(x, t) the query, v the target image, m_l the vector at place l of
a low-level feature map of the target, T and T' critics, u_ij = T(t_i, v_j) and u'_ijl = T'(q_i, m_jl) their scores, f
the softplus:

    metric       as in TIRG
    text_image   mean_i≠j f(u_ij) + mean_i f(-u_ii) - 2 log 2
    image_query  mean_i≠j,l f(u'_ijl) + mean_i,l f(-u'_iil) - 2 log 2

    generator:  min  metric + alpha text_image + beta image_query,  over encoders, fusion and critics

or, with `estimator: nce` or `dv`, the second and third term are those of `noise_contrastive` or `donsker_varadhan`.
The critics are no adversaries: they minimise what the encoders minimise, in one optimizer. Retrieval goes by the
cosine, without the critics. With alpha = beta = 0 the loss is that of TIRG, to the last bit.

Where this differs from the paper. The paper's, from its abstract: Deep InfoMax between the text and an image, whose
meanings overlap without being the same, and between a low layer of the image encoder on the desired image and a high
layer of the fusion; no adversary. No code of it is public, so all else is our choice: TIRG as the base; that the image
of the first term is the target (`informed_of: source` takes the source), that the high layer is the fusion's output and
the low one the second of four levels of maps; JSD and Deep InfoMax's dot-product critics as defaults, their scores
divided by √units; alpha = beta = 0.1; that nothing is detached. The second level of a ResNet-18 has 28 x 28 places on
pictures of 224 pixels, with which embedding and scoring the targets takes three times as long as embedding them; with
the 56 x 56 of the first it takes seventeen times as long.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from cmr_lightning.batch import Batch, ComposedQuery
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.informed_retriever import InformedRetriever
from cmr_lightning.methods.tirg import TIRG


class TIRGInfoMax(InformedRetriever, TIRG):
    """TIRG with two critics, which tell it how much its parts know of each other.

    Args:
        informed_of: The image that the text is to tell of.
        **kwargs: Options of `InformedRetriever` and `TIRG`.

    Raises:
        UserError: If `image_query` has a weight and the image encoder makes no feature maps.
    """

    terms: ClassVar[Mapping[str, float]] = {"metric": 1.0, "text_image": 0.1, "image_query": 0.1}
    informed: ClassVar[Mapping[str, tuple[str, str]]] = {
        "text_image": ("words", "picture"),
        "image_query": ("text", "map"),
    }
    built_on_demand: ClassVar[tuple[str, ...]] = tuple(informed)

    def __init__(self, informed_of: Literal["target", "source"] = "target", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.informed_of = informed_of

    def embed(self, batch: Batch[ComposedQuery]) -> Embeddings:
        """Embed the targets and queries of a batch, and keep what the critics see.

        These are the texts alone, `words` `(N, D)`; the image of which they inform, `picture` `(N, D)`; and, for the
        term `image_query`, the low-level `map` `(N, C, h, w)` of the targets.
        """
        sources, texts = batch.text
        extra = {}
        if self.image_query is None:
            targets = self.embed_images(batch.image)
        else:
            targets, extra["map"] = self.mapped_encoder.with_map(batch.image, self.level)
        extra["words"] = self.embed_texts(texts)
        extra["picture"] = targets if self.informed_of == "target" else self.embed_images(sources)
        return Embeddings(targets, self.fuse(sources, extra["words"]), extra)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms of the objective that have a weight."""
        losses, negatives = super().generator_losses(batch, embeddings), self.negatives(batch)
        return {**losses, **self.information(embeddings, negatives)}
