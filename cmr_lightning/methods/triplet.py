"""Bidirectional triplet loss: the baseline of methods with an adversary.

Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018, arXiv
1707.05612.

Objective, s the cosine similarity, m the margin, j over the negatives of pair i:

    triplet = 1/N Σ_i Σ_j [m - s(v_i, t_i) + s(v_i, t_j)]₊ + [m - s(v_i, t_i) + s(v_j, t_i)]₊

or, with `mining: hardest`, the largest summand of each bracket in place of its sum over j.

Where this differs from the paper: texts of one image, and on class-level data items of one class, are not each other's
negatives; the loss is a mean over the pairs of a batch where the paper sums.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import Mining, Reduction, bidirectional_triplet
from cmr_lightning.ranges import CosineMargin
from cmr_lightning.retriever import Retriever


class Triplet(Retriever):
    """Two encoders trained by a bidirectional triplet loss.

    Args:
        margin: m, a difference of cosines, 0 to 2.
        mining: The negatives that count, all or the hardest.
        **kwargs: Options of `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0}
    reduction: ClassVar[Reduction] = "mean"

    def __init__(self, margin: CosineMargin = 0.2, mining: Mining = "hardest", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.margin = margin
        self.mining = mining

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the triplet term."""
        negatives = ~self.related(batch)
        return {"triplet": bidirectional_triplet(*embeddings.pair, negatives, self.margin, self.mining, self.reduction)}
