"""Maximum mean discrepancy: the difference of two sets of points as a Gaussian kernel sees it."""

from functools import reduce
from operator import add

import torch
from torch import Tensor

from cmr_lightning.losses.arithmetic import SHORTEST, full_precision, squared_distances

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The kernels' bandwidths as multiples of the median squared distance (choice)."""


@full_precision
def maximum_mean_discrepancy(images: Tensor, texts: Tensor, unbiased: bool = False) -> Tensor:
    """MMD² = mean k(v, v') + mean k(t, t') - 2 mean k(v, t), with k(a, b) = Σ_s exp(-||a - b||² / (s m)).

    s are the `BANDWIDTHS`, and m is the median of the squared distances between any two of the N + M points, so that
    the term is the same for points of any scale. No gradient passes through m: the encoders could otherwise lower the
    term by moving points of one modality apart. It is 0, with a gradient of 0, where most of the points coincide, so
    that m is 0.

    The form to train with counts the kernel of each point with itself: it is >= 0, 0 where the two sets are the same,
    and biased upwards by the order of 1/N + 1/M. The `unbiased` form leaves those out: its mean is 0 where both sets
    come from one law, so that it may be negative; a set of one point adds nothing to it.

    Source: Gretton, Borgwardt, Rasch, Schölkopf, Smola, "A Kernel Two-Sample Test", JMLR 13, 2012, with its two
    estimators and its median heuristic; several bandwidths as in Long, Cao, Wang, Jordan, "Learning Transferable
    Features with Deep Adaptation Networks", ICML 2015. Images are `(N, D)`, texts `(M, D)`, in any order.
    """
    points = torch.cat([images, texts])
    distances = squared_distances(points, points)
    median = median_distance(distances)
    kernel = reduce(add, [(-distances / (multiple * median)).exp() for multiple in BANDWIDTHS])
    of_images, of_texts = kernel[: len(images), : len(images)], kernel[len(images) :, len(images) :]
    across = kernel[: len(images), len(images) :]
    return _mean(of_images, unbiased) + _mean(of_texts, unbiased) - 2 * across.mean()


def median_distance(distances: Tensor) -> Tensor:
    """Return the median of the squared distances of different points `(K, K)`, detached; infinite in place of 0."""
    apart = torch.ones_like(distances, dtype=torch.bool).triu(1)
    median = distances.detach()[apart].median()
    return median.masked_fill(median < SHORTEST**2, torch.inf)


def _mean(kernel: Tensor, unbiased: bool) -> Tensor:
    """Average the kernel within one set `(N, N)`, with or without its diagonal."""
    if not unbiased:
        return kernel.mean()
    items = len(kernel)
    return (kernel.sum() - kernel.trace()) / max(1, items * (items - 1))
