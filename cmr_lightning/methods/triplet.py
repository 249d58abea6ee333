"""Bidirectional triplet loss: the baseline of methods with an adversary.

Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018, arXiv
1707.05612.

Objective, s the cosine similarity, m the margin, p over the positives and j over the negatives of item i in the batch:

    triplet   1/N Σ_i mean_p Σ_j [m - s(v_i, t_p) + s(v_i, t_j)]₊ + mean_p Σ_j [m - s(v_p, t_i) + s(v_j, t_i)]₊

or, with `mining: hardest`, the largest summand in place of each sum over j. On instance-level data the one positive of
an item is its own partner (`positives: own`), as in the paper; on class-level data every item of its class is one
(`positives: class`).

Where this differs from the paper, which knows pairs alone: texts of one image, and on class-level data items of one
class, are not each other's negatives; the latter are each other's positives, since with the own partner alone nothing
would draw a class together; the loss is a mean over the pairs of a batch where the paper sums.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from cmr_lightning.batch import Batch, DataSpec
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import Mining, Positives, Reduction, bidirectional_triplet
from cmr_lightning.ranges import CosineMargin
from cmr_lightning.retriever import Retriever


class Triplet(Retriever):
    """Two encoders trained by a bidirectional triplet loss.

    Args:
        margin: m, a difference of cosines, 0 to 2.
        mining: The negatives that count, all or the hardest.
        positives: What belongs to an item: its own partner, or all of its class, on instance-level data its image's
            captions; None for the class on class-level data and the own partner on others.
        **kwargs: Options of `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0}
    reduction: ClassVar[Reduction] = "mean"

    def __init__(
        self, margin: CosineMargin = 0.2, mining: Mining = "hardest", positives: Positives | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.margin = margin
        self.mining: Mining = mining
        self.positives = positives or usual_positives(self.spec)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the triplet term."""
        loss = bidirectional_triplet(
            *embeddings.pair, ~self.related(batch), self.margin, self.mining, self.reduction, self.positives
        )
        return {"triplet": loss}


def usual_positives(spec: DataSpec) -> Positives:
    """Choose what belongs to an item by what is asked for: all of its class, or its own partner."""
    return "class" if spec.relevance == "label" else "own"
