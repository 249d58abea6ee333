"""Mutual information, estimated from the scores that a critic gives to pairs.

The critic scores what belongs together, u_ii, and what does not, u_ij. Where y_j is a picture seen at L locations, as a
feature map, each of them is scored, u_ijl, and counts alike. All terms are minimised: each of them is minus a quantity
that rises with the mutual information of x and y, and that the best critic maximises.

The critic is no adversary. It learns to tell pairs from strangers, and the encoders help it to. All terms take what
`mutual_information` takes.
"""

import math
from typing import Literal

from torch import Tensor
from torch.nn.functional import softplus

from cmr_lightning.losses.arithmetic import full_precision
from cmr_lightning.losses.relations import own_pairs

Estimator = Literal["jsd", "nce", "dv"]
"""An estimator of mutual information I.

| estimator | minus the term estimates | upper bound |
|---|---|---|
| `jsd` | 2 JSD(joint, product of the marginals), which rises with I | 2 log 2 |
| `nce` | I - log N | 0: a batch of N shows log N at most |
| `dv` | I itself, from below, at a high variance where I is large | none |
"""


def mutual_information(scores: Tensor, negatives: Tensor, estimator: Estimator) -> Tensor:
    """Negative of an estimate of mutual information; 0 where the batch holds no negatives.

    Args:
        scores: u_ij of row i with partner j, `(N, N)`, or u_ijl with each of its locations, `(N, N, L)`. Row i belongs
            to partner i.
        negatives: Which pairs do not belong together, `(N, N)` bool. Own pairs are never negatives.
        estimator: See `Estimator`.
    """
    terms = {"jsd": jensen_shannon, "nce": noise_contrastive, "dv": donsker_varadhan}
    return terms[estimator](scores, negatives)


@full_precision
def jensen_shannon(scores: Tensor, negatives: Tensor) -> Tensor:
    """Softplus of scores, negative against own: mean softplus(u⁻) + mean softplus(-u⁺) - 2 log 2.

    It is E⁻ - E⁺ with E⁺ = log 2 - softplus(-u) and E⁻ = softplus(-u) + u - log 2; 0 for a critic that scores all pairs
    0, >= -2 log 2, and in expectation never below -2 JSD(joint, product of the marginals). Source: Nowozin, Cseke,
    Tomioka, "f-GAN", NeurIPS 2016, arXiv 1606.00709; Hjelm et al., "Learning deep representations by mutual information
    estimation and maximization" (Deep InfoMax), ICLR 2019, arXiv 1808.06670, and its code.
    """
    own, others = _scores_of(scores, negatives)
    if not len(others):
        return _zero(scores)
    return softplus(others).mean() + softplus(-own).mean() - 2 * math.log(2)


@full_precision
def noise_contrastive(scores: Tensor, negatives: Tensor) -> Tensor:
    """Cross-entropy of each own location among all locations of the row's negatives, >= 0.

    1/NL Σ_i Σ_l -log [exp u_iil / (exp u_iil + Σ_j Σ_k exp u_ijk)], j over the negatives of row i, k over locations;
    the other locations of the row's own partner do not count. Without locations, and with all others negatives,
    log N minus the term is a lower bound of the mutual information, and cannot exceed log N.

    Source: van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding", 2018, arXiv
    1807.03748, in the form of Deep InfoMax's code, which masks own locations by subtracting 10 where we leave them out.
    """
    own, _ = _scores_of(scores, negatives)
    left_out = ~(negatives & ~own_pairs(negatives))[..., None]
    others = _with_locations(scores).masked_fill(left_out, -math.inf).flatten(1).logsumexp(1, keepdim=True)
    return softplus(others - own).mean()


@full_precision
def donsker_varadhan(scores: Tensor, negatives: Tensor) -> Tensor:
    """Negative of a lower bound of the mutual information: log mean exp u⁻ - mean u⁺; 0 where all scores are alike.

    The bound holds in expectation over the data: a critic that fits the batch it is measured on exceeds it. Within a
    batch the gradient of the logarithm is biased, which Deep InfoMax's code does not correct either. Source: Donsker
    and Varadhan 1983; Belghazi et al., "Mutual Information Neural Estimation" (MINE), ICML 2018, arXiv 1801.04062.
    """
    own, others = _scores_of(scores, negatives)
    if not len(others):
        return _zero(scores)
    return others.flatten().logsumexp(0) - math.log(others.numel()) - own.mean()


def _scores_of(scores: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the scores of the own pairs `(N, L)` and of the K negative ones `(K, L)`."""
    by_location, own = _with_locations(scores), own_pairs(negatives)
    return by_location[own], by_location[negatives & ~own]


def _with_locations(scores: Tensor) -> Tensor:
    """Reshape scores to `(N, N, L)`, L = 1 where there are no locations."""
    return scores[..., None] if scores.ndim == 2 else scores


def _zero(scores: Tensor) -> Tensor:
    """Return 0 with a gradient of 0: nothing is learned from pairs without negatives."""
    return 0 * scores.sum()
