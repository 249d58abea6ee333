"""The difference of two experiments: how far it would move with other seeds and other queries.

Each seed gives another model and each query another score, so the mean difference D has two parts of variance, V_seed
and V_query. Scores y of S seeds on the same Q units (queries) are a two-way table; for d = y_1 - y_2 with the partial
means d_s and d_q, paired by seed::

    V_seed  = var(d_s) / S
    V_query = max(0, var(d_q) / Q - MS / (S Q)),   MS = sum (d_sq - d_s - d_q + D)² / ((S - 1) (Q - 1))

The noise of single cells is in both partial means and must count once, so it is taken from V_query. Without pairing,
V_seed is var(y_1s) / S_1 + var(y_2s) / S_2, and each experiment has an MS of its own.

Where each seed has a split of its own, each has queries of its own, whose noise is in var(d_s) already: there is no
V_query. But random splits share training items and test items, so their differences resemble each other, and dividing
by S is too much: V_seed = (1 / S + r) var(d_s), r the number of test items by that of training items (Nadeau and
Bengio, "Inference for the generalization error", Machine Learning 52, 2003).

The error of D is taken to be sqrt(V_seed) T_f + sqrt(V_query) T_(Q-1), two independent Student's t (the solution of
Behrens and Fisher), where f = S - 1, or Welch's degrees of freedom without pairing. The more common solution is one t
with the degrees of freedom of Satterthwaite. It rejects too often where V_seed is small by chance, above all at the
small levels of Holm's correction: of boards of 12 equal methods, paired, it found a difference in 21 % with five seeds
and in 52 % with three, this one in 5 % at most (`tests/benchmarks/null_simulations.py`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from statistics import median, median_low

import numpy as np
from scipy import optimize, special, stats

from cmr_lightning.reports.statistics import LEVEL, Floats

_NODES, _LEFT_OUT = 64, 1e-12
"""Points of the integral over a variance, and the probability beyond the outer ones.

P-values of 1e-8 and more have four right digits; below 1e-10 they come out too small.
"""

_STRATA = 32
"""Equally probable values of V_seed over which power is averaged, for an error below 0.005."""


@dataclass(frozen=True)
class Difference:
    """The mean difference of two experiments, with what its variance consists of.

    Attributes:
        mean: The difference D, in the units of the metric.
        seeds: Number S of seeds, or of splits.
        seed_variance: Variance of the difference in one seed, or on one split.
        seed_df: Degrees of freedom of this variance.
        queries: Number Q of units.
        query_variance: V_query, which does not depend on the number of seeds.
        overlap: Test items by training items, where each seed has a split of its own; otherwise 0.
    """

    mean: float
    seeds: int
    seed_variance: float
    seed_df: float
    queries: int
    query_variance: float = 0.0
    overlap: float = 0.0

    def __neg__(self) -> "Difference":
        """Return the difference the other way round."""
        return replace(self, mean=-self.mean)

    @property
    def p_value(self) -> float:
        """The probability that the error of D is at least as large as D, either way."""
        return self._exceeding(abs(self.mean))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the true difference; it has no 0 in it if the p-value is below `LEVEL`."""
        margin = self.margin(LEVEL)
        return self.mean - margin, self.mean + margin

    def margin(self, level: float) -> float:
        """Compute the smallest difference that is significant at a level."""
        seed, query = map(math.sqrt, self._parts)
        enough = seed * stats.t.isf(level / 4, self.seed_df) + query * stats.t.isf(level / 4, self.queries - 1)
        return float(optimize.brentq(lambda error: self._exceeding(error) - level, 0, enough)) if enough else 0.0

    def power(self, true: float, level: float = LEVEL) -> float:
        """Compute the chance that a true difference is found significant at a level.

        Given V_seed, which scatters as chi-squared, D is normal; without V_query this is the noncentral t. V_query is
        taken as known, as it rests on many queries.
        """
        deviation = math.sqrt(sum(self._parts))
        margins = _margins(replace(self, mean=0.0), level)
        return float(np.mean(special.ndtr([(true - margins) / deviation, (-true - margins) / deviation]).sum(axis=0)))

    def detectable(self, level: float = LEVEL, power: float = 0.8) -> float:
        """Compute the true difference that is found significant at a level with a given chance."""
        enough = self.margin(level)
        while self.power(enough, level) < power:
            enough *= 2
        return float(optimize.brentq(lambda true: self.power(true, level) - power, 0, enough))

    def with_seeds(self, seeds: int) -> "Difference":
        """Return the same as if it had been measured with another number of seeds, at least 2."""
        return replace(self, seeds=seeds, seed_df=self.seed_df * (seeds - 1) / (self.seeds - 1))

    @property
    def _parts(self) -> tuple[float, float]:
        """V_seed and V_query."""
        return self.seed_variance * (1 / self.seeds + self.overlap), self.query_variance

    def _exceeding(self, distance: float) -> float:
        """Compute the probability that the error of D is at least a distance.

        A t is a normal variable of random variance, and so is a sum of two: the integral is over the two variances.
        """
        if not any(self._parts):
            return float(distance == 0)
        (seed, of_seed), (query, of_query) = _variance_of_t(self.seed_df), _variance_of_t(self.queries - 1)
        variance = self._parts[0] * seed[:, None] + self._parts[1] * query
        return float(2 * of_seed @ special.ndtr(-distance / np.sqrt(variance)) @ of_query)


def paired(one: Floats, other: Floats) -> Difference:
    """Subtract the scores of two experiments that ran with the same seeds on the same split, `(S, Q)` each."""
    seeds, queries = one.shape
    scores = one - other
    query_variance = _query_variance(scores.mean(axis=0), _interaction(scores) / seeds)
    variance = float(scores.mean(axis=1).var(ddof=1))
    return Difference(float(scores.mean()), seeds, variance, seeds - 1, queries, query_variance)


def unpaired(one: Floats, other: Floats) -> Difference:
    """Subtract the scores of two experiments whose seeds have nothing in common, `(S_1, Q)` and `(S_2, Q)`.

    S is then the harmonic mean of both numbers, rounded.
    """
    both = one, other
    parts = np.array([scores.mean(axis=1).var(ddof=1) / len(scores) for scores in both])
    of_cells = sum(_interaction(scores) / len(scores) for scores in both)
    query_variance = _query_variance(one.mean(axis=0) - other.mean(axis=0), of_cells)
    squares = sum(part**2 / (len(scores) - 1) for part, scores in zip(parts, both, strict=True))
    seeds = round(2 / sum(1 / len(scores) for scores in both))
    df = parts.sum() ** 2 / squares if squares else seeds - 1
    means = float(one.mean()), float(other.mean())
    mean = 0.0 if math.isclose(*means, rel_tol=1e-12) else means[0] - means[1]  # no more than rounding
    return Difference(mean, seeds, float(parts.sum() * seeds), float(df), one.shape[1], query_variance)


def over_splits(differences: Floats, queries: int, overlap: float) -> Difference:
    """Average the mean differences of S splits, `(S,)`, with Q units each and `overlap` test items a training item."""
    seeds = len(differences)
    return Difference(
        float(differences.mean()), seeds, float(differences.var(ddof=1)), seeds - 1, queries, overlap=overlap
    )


def typical(differences: Sequence[Difference]) -> Difference | None:
    """Take the medians over several differences, all as with one number of seeds; None if these are without noise."""
    seeds = median_low(difference.seeds for difference in differences)
    alike = [difference.with_seeds(seeds) for difference in differences]
    variance, df, query_variance = (
        median(getattr(difference, name) for difference in alike)
        for name in ("seed_variance", "seed_df", "query_variance")
    )
    first = alike[0]
    found = Difference(0.0, seeds, variance, df, first.queries, query_variance, first.overlap)
    return found if any(found._parts) else None


def _interaction(scores: Floats) -> float:
    """Compute MS, the variance of single cells of `(S, Q)` about the sum of the effects of their seed and query."""
    residual = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=0) + scores.mean()
    return float((residual**2).sum() / math.prod(n - 1 for n in scores.shape))


def _query_variance(by_query: Floats, of_cells: float) -> float:
    """Compute V_query from d_q `(Q,)`, and the variance of each that is due to single cells, MS / S."""
    return max(0.0, float(by_query.var(ddof=1) - of_cells) / len(by_query))


@lru_cache(maxsize=64)
def _margins(difference: Difference, level: float) -> Floats:
    """Compute the margins at equally probable values of V_seed, if that of the difference is the true one."""
    df = difference.seed_df
    scatter = stats.chi2.ppf((np.arange(_STRATA) + 0.5) / _STRATA, df) / df
    variances = (difference.seed_variance * scatter).tolist()
    return np.array([replace(difference, seed_variance=variance).margin(level) for variance in variances])


@lru_cache(maxsize=1024)
def _variance_of_t(df: float) -> tuple[Floats, Floats]:
    """Return values of df / chi², the variance of a normal variable that is Student's t, and their probabilities."""
    chi2 = np.geomspace(stats.chi2.ppf(_LEFT_OUT, df), stats.chi2.isf(_LEFT_OUT, df), _NODES)
    weights = stats.chi2.pdf(chi2, df) * chi2
    return df / chi2, weights / weights.sum()
