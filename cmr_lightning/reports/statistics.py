"""Statistics of scores: confidence intervals over runs, many tests at once, compact letter displays."""

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.05
"""Significance level of the tests; intervals cover the mean with a confidence of 1 minus it."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """A metric over n runs: mean, sample standard deviation (with n - 1), 95 % confidence interval of the mean."""

    n: int
    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None


def summary(values: Sequence[float], overlap: float | None = 0.0) -> Summary:
    """Compute mean, standard deviation and Student's t interval of the mean, with n - 1 degrees of freedom.

    Args:
        values: A metric of n runs.
        overlap: For runs on as many random splits the number of test items by that of training items: the splits share
            items, so the variance of the mean is (1 / n + overlap) times that of a run (Nadeau and Bengio, "Inference
            for the generalization error", Machine Learning 52, 2003). None if it is unknown: there is no interval then.

    Examples:
        >>> found = summary([0.3, 0.4, 0.5])
        >>> print(f"{found.mean:.2f} ± {found.std:.2f}, {found.interval[0]:.2f} to {found.interval[1]:.2f}")
        0.40 ± 0.10, 0.15 to 0.65
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(n, mean)
    std = float(np.std(values, ddof=1))
    if overlap is None:
        return Summary(n, mean, std)
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * std * math.sqrt(1 / n + overlap)
    return Summary(n, mean, std, (mean - half, mean + half))


def holm(p_values: ArrayLike) -> Floats:
    """Adjust the p-values of a family of n tests by Holm's step-down procedure, `(n,)`.

    The k-th smallest is multiplied by n - k + 1, and is at least as large as any smaller one. Rejecting those up to x
    then rejects any true hypothesis with probability x at most (Holm, "A simple sequentially rejective multiple test
    procedure", Scandinavian Journal of Statistics 6, 1979). SciPy controls the false discovery rate only.

    Examples:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted


def letter_groups(different: NDArray[np.bool_]) -> list[frozenset[int]]:
    """Find the largest groups of systems without a significant difference inside.

    Two systems share a group if and only if they do not differ significantly; one may be in several groups. With a
    letter for each group this is the compact letter display, found by insertion and absorption (Piepho, "An algorithm
    for a letter-based representation of all-pairwise comparisons", Journal of Computational and Graphical Statistics
    13, 2004; without its sweeping, which only drops members that other groups make redundant).

    Args:
        different: True for two systems that differ significantly, symmetric `(E, E)`, systems in order, best first.

    Returns:
        Groups of positions, that of the best system first.
    """
    groups = [frozenset(range(len(different)))]
    for i, j in np.argwhere(np.triu(different)).tolist():
        parts = {part for group in groups for part in ((group - {i}, group - {j}) if {i, j} <= group else (group,))}
        groups = [part for part in parts if not any(part < other for other in parts)]
    return sorted(groups, key=sorted)


def letters(groups: Sequence[frozenset[int]], system: int) -> str:
    """Name the groups of a system by letters: a to z, A to Z, and from there on the same with dots in front.

    Examples:
        >>> [letters([frozenset({0, 1}), frozenset({1, 2})], system) for system in range(3)]
        ['a', 'ab', 'b']
    """
    alphabet = string.ascii_letters
    names = ["." * (k // len(alphabet)) + alphabet[k % len(alphabet)] for k in range(len(groups))]
    return "".join(name for name, group in zip(names, groups, strict=True) if system in group)
