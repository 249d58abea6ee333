"""TIRG: text-image residual gating for composed retrieval, and the simpler compositions beside it.

Vo, Jiang, Sun, Murphy, Li, Fei-Fei, Hays, "Composing Text and Image for Image Retrieval - An Empirical Odyssey", CVPR
2019, arXiv 1812.07119.

Objective, x the source image, t the text, v the target image, all in one space, z̄ = z / ||z||, s a learned length:

    query        q = a0 sigmoid(gate(x, t)) x + a1 residual(x, t)    (`fusion: TIRGFusion`)
    metric       1/N Σ_i CE_j(s² q̄_i · v̄_j, i)                        (`loss: batch_classification`), or
                 mean over anchors a, their partners a⁺ and strangers a⁻ in the batch of log(1 + exp(d(a, a⁺) -
                 d(a, a⁻))), d = s² || · - · ||² of vectors of length 1    (`loss: soft_triplet`)

    generator:  min  metric

The paper trains on Fashion200k by batch classification, on MIT-States and CSS3D by soft triplets. Other fusions make
its baselines: the image alone, the text alone, both side by side through two layers, and gating on the last feature
map. Retrieval goes by the cosine, so s matters in training alone.

Where this differs from the paper and its code. The paper's: fusions, losses, s from 4, a0 and a1 from 1 and 10. Ours:
soft triplets are a mean over all strangers of the batch, where the code draws three for each anchor; gradients are
those of the loss, where the code's own backward pass gives half of them (a weight of 0.5 follows its schedule); with
`mask_repeated`, targets that are right for one query are no negatives of it, off by default as in the code. An
`alignment`, which is no part of TIRG, aligns targets with queries.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.composed_retriever import ComposedRetriever, FusionFactory
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.encoders import TIRGFusion
from cmr_lightning.losses import batch_classification, soft_triplet
from cmr_lightning.ranges import Positive


class TIRG(ComposedRetriever):
    """Source image and text, fused into a query near its target.

    Args:
        fusion: Class and arguments of the fusion.
        loss: The loss that brings queries to their targets.
        mask_repeated: Do not hold targets of one caption, or a target that is there twice, against each other.
        scale: s at the start, > 0.
        **kwargs: Options of `ComposedRetriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"metric": 1.0}

    def __init__(
        self,
        fusion: FusionFactory = TIRGFusion,
        loss: Literal["batch_classification", "soft_triplet"] = "batch_classification",
        mask_repeated: bool = False,
        scale: Positive = 4.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(fusion=fusion, **kwargs)
        self.loss = loss
        self.mask_repeated = mask_repeated
        self.scale = nn.Parameter(torch.tensor(scale))

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the term of the objective."""
        targets, queries = embeddings.pair
        loss = batch_classification if self.loss == "batch_classification" else soft_triplet
        return {"metric": loss(queries, targets, self.negatives(batch), self.scale)}

    def negatives(self, batch: Batch) -> Tensor:
        """Mark the targets that are negatives of each query, `(N, N)` bool; its own never is."""
        related = self.related(batch)
        return ~related if self.mask_repeated else ~torch.eye(len(related), dtype=torch.bool, device=related.device)
