"""VSE++: visual-semantic embeddings with hard negatives, and VSE0, its baseline with all negatives.

Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018, arXiv
1707.05612.

Objective, s the cosine similarity, m the margin, p over the positives and j over the negatives of item i in the batch:

    triplet   Σ_i mean_p max_j [m - s(v_i, t_p) + s(v_i, t_j)]₊ + mean_p max_j [m - s(v_p, t_i) + s(v_j, t_i)]₊

With `mining: sum`, VSE0, each max_j is Σ_j. On instance-level data p is i alone.

Where this differs from the paper. The paper's: both forms of the loss, m = 0.2, the own partner as the one positive,
and the sum over the batch, which is that of its code and on which its clipping of gradients at norm 2 acts; the mean
over the batch is the method `Triplet`. Ours: two captions of one image are not each other's negatives; on class-level
data all items of a class are each other's positives (`positives: own` takes the own partner there, too); VSE0 differs
from VSE++ in its negatives alone, where the code's VSE0 also leaves the images unscaled.

Image networks that are trained from scratch can stall under the hardest negatives, with all embeddings in one
direction, where each of them violates the margin by just m and the loss stays at 2 N m; all negatives do not stall.
"""

from typing import ClassVar

from cmr_lightning.losses import Reduction
from cmr_lightning.methods.triplet import Triplet


class VSEpp(Triplet):
    """Two encoders trained by the triplet loss summed over the batch; the arguments are those of `Triplet`."""

    reduction: ClassVar[Reduction] = "sum"
