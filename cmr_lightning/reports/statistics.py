"""Statistics of scores: confidence intervals over runs, permutation tests over queries, compact letter displays."""

import math
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.05
"""Significance level of the tests; intervals cover the mean with a confidence of 1 minus it."""

RESAMPLES = 10_000
"""Random sign flips of a test: the standard error of a p-value of 0.05 is then 0.002."""

_BLOCK = 2**22
"""Signs drawn at once: about 40 MB."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """A metric over n runs: mean, sample standard deviation (with n - 1), 95 % confidence interval of the mean."""

    n: int
    mean: float
    std: float | None = None
    interval: tuple[float, float] | None = None


def summary(values: Sequence[float]) -> Summary:
    """Compute mean, standard deviation and Student's t interval of the mean, with n - 1 degrees of freedom.

    The interval treats the runs as independent. Runs on several random splits share training data, so their interval is
    somewhat too short (Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52, 2003).

    Examples:
        >>> found = summary([0.3, 0.4, 0.5])
        >>> print(f"{found.mean:.2f} ± {found.std:.2f}, {found.interval[0]:.2f} to {found.interval[1]:.2f}")
        0.40 ± 0.10, 0.15 to 0.65
    """
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return Summary(n, mean)
    std = float(np.std(values, ddof=1))
    half = float(stats.t.ppf(1 - LEVEL / 2, n - 1)) * std / math.sqrt(n)
    return Summary(n, mean, std, (mean - half, mean + half))


def pairwise_permutation_test(scores: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> Floats:
    """Test every pair of E systems for equal means by a two-sided paired permutation test.

    If two systems do not differ, the two scores of a query are exchangeable, so the sign of their difference is random.
    The p-value is the share of sign flips whose mean difference is at least as far from 0 as the observed one (Smucker,
    Allan and Carterette, "A comparison of statistical significance tests for information retrieval evaluation", CIKM
    2007). All 2**Q flips are enumerated if they are at most `resamples`. Otherwise that many random ones are drawn, and
    the observed one counts as one of them, so no p-value is 0 (Phipson and Smyth, "Permutation p-values should never be
    zero", 2010).

    Args:
        scores: Scores of each system on the same queries, averaged over its seeds, `(E, Q)`.
        rng: Source of the random sign flips, which all pairs share.
        resamples: Number of random sign flips.

    Returns:
        Symmetric `(E, E)` in (0, 1], with 1 on the diagonal.

    Examples:
        >>> better_everywhere = np.array([[0.5, 0.6, 0.7, 0.8, 0.9], [0.1, 0.2, 0.3, 0.4, 0.5]])
        >>> pairwise_permutation_test(better_everywhere, np.random.default_rng()).tolist()  # 2 of 2**5 flips
        [[1.0, 0.0625], [0.0625, 1.0]]
    """
    # Not `scipy.stats.permutation_test`: it tests one pair at a time, and here the flips of one pair serve all.
    exact = scores.shape[1] <= math.log2(resamples)
    # A flipped sum of differences is a difference of flipped sums, so a product with E columns serves all pairs.
    centred = (scores - scores.mean(axis=0)).T
    total = centred.sum(axis=0)
    observed = np.abs(total[:, None] - total)
    observed -= 1e-10 * np.abs(centred).sum(axis=0).max()  # sums that are equal but for rounding count as equal
    as_far, drawn = np.zeros(observed.shape, dtype=np.int64), 2 ** len(centred) if exact else resamples
    for chosen in _subsets(len(centred), drawn, None if exact else rng):
        sums = 2 * (chosen.astype(np.float64) @ centred) - total
        for i in range(len(observed)):
            as_far[i, i:] += (np.abs(sums[:, i, None] - sums[:, i:]) >= observed[i, i:]).sum(axis=0)
    p = np.triu(as_far / drawn if exact else (as_far + 1) / (drawn + 1))
    return np.maximum(p, p.T)


def _subsets(n: int, number: int, rng: np.random.Generator | None) -> Iterator[NDArray]:
    """Yield the first `number` subsets of n things, or as many random ones, as 0 and 1 in blocks `(b, n)`."""
    step = max(1, _BLOCK // n)
    for start in range(0, number, step):
        end = min(start + step, number)
        if rng is None:
            yield np.arange(start, end)[:, None] >> np.arange(n) & 1
        else:
            octets = rng.integers(256, size=(end - start, -(-n // 8)), dtype=np.uint8)
            yield np.unpackbits(octets, axis=1, count=n)


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
