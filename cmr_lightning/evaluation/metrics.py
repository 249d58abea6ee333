"""Metrics of ranks, each the expected value over random orders inside the groups of equal scores.

So the order in which items are stored never matters, and an encoder that maps everything to one point scores exactly
what chance does. Under "rank = number of strictly better items" it would reach a recall@1 of 100 %.

A query without any relevant item counts, too: its average precision, precision and recall are 0 (as in DSCMR's code),
and its first relevant item has the rank after the last.

The formulas use the letters of `Protocol`. The examples rank five items for one query; those in the places 2 and 5 are
relevant:

    >>> import numpy as np
    >>> from cmr_lightning.evaluation import Protocol, Ranks
    >>> places_2_and_5 = Ranks(np.array([0, 2]), *np.int32([[1, 4], [1, 1], [1, 1]]), gallery_size=5)
    >>> ids = ("precision@2", "recall@1", "recall@2", "rsum", "median-rank", "map@all", "map@3-hits", "map@3-total")
    >>> [round(score(places_2_and_5, Protocol.parse(f"{metric}/cos/label")), 6) for metric in ids]
    [0.5, 0.0, 100.0, 200.0, 2.0, 0.45, 0.5, 0.25]
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln
from torch import Tensor

from cmr_lightning.evaluation.protocols import RECALL_CUTOFFS, Protocol
from cmr_lightning.evaluation.ranks import Ranks, chance_ranks, sums_before
from cmr_lightning.evaluation.relevance import Positives, Relevance

Floats = NDArray[np.float64]


def score(ranks: Ranks, protocol: Protocol) -> float:
    """Compute the metric of a ranking over all its queries.

    Returns:
        `map`, `map-at-r`, `precision` and `r-precision`: 0 to 1. `recall`: percent. `rsum`: percent, up to 300 for one
        direction.
        `median-rank`: floor(median of the ranks counted from 0) + 1, as in VSE++, with the expected rank under ties.

    Examples:
        >>> one_tie = Ranks(np.array([0, 1]), *np.int32([[0], [4], [1]]), gallery_size=4)  # one of four is relevant
        >>> [round(score(one_tie, Protocol("recall", "instance", k=k)), 6) for k in (1, 2)]
        [25.0, 50.0]
    """
    values = per_query(ranks, protocol)
    if protocol.metric == "median-rank":
        return float(math.floor(np.median(values - 1)) + 1)
    counted = weights(ranks, protocol)
    total = counted.sum()
    mean = float((np.where(counted > 0, values, 0) * counted).sum() / total) if total else 0.0
    return protocol.scale * mean


def per_query(ranks: Ranks, protocol: Protocol) -> Floats:
    """Compute the metric of each query, `(Q,)`: a fraction (recall: the probability of a hit), or a rank from 1.

    NaN for a query that `map@K-hits-nonempty` drops: one without a hit in the first K places in any order of its ties.
    If only some orders have a hit, the value is the mean over these, and the query has a part of the weight, see
    `weights`.
    """
    return np.concatenate([_per_query(part, protocol) for part in ranks.parts()])


def weights(ranks: Ranks, protocol: Protocol) -> Floats:
    """Compute the share of the orders of its ties in which a query counts, `(Q,)`: 1 but for `map@K-hits-nonempty`.

    There it is the probability of a hit in the first K places. The weighted mean of `per_query` is then the expected
    sum of the average precisions over the expected number of queries that are not dropped; without ties it is their
    mean, and it is 0 if all are dropped.
    """
    if protocol.normaliser == "hits-nonempty":
        return np.concatenate([_recall(part, protocol.k or ranks.gallery_size) for part in ranks.parts()])
    return np.ones(ranks.num_queries)


def chance(relevance: Relevance | Positives, protocol: Protocol, excluded: Tensor | None = None) -> float:
    """Compute the expected `score` of a random order of the gallery, without the items that `rank` would exclude.

    Examples:
        >>> import torch
        >>> round(chance(Relevance(torch.arange(8), torch.arange(8)), Protocol("recall", "instance", k=1)), 6)
        12.5
    """
    return score(chance_ranks(relevance, excluded=excluded), protocol)


def _per_query(ranks: Ranks, protocol: Protocol) -> Floats:
    k = protocol.k or ranks.gallery_size
    match protocol.metric:
        case "map":
            return _average_precision(ranks, k, protocol.normaliser)
        case "map-at-r":
            return _precision_sum(ranks, ranks.num_relevant) / np.maximum(ranks.num_relevant, 1)
        case "precision":
            return _expected_hits(ranks, k) / k
        case "r-precision":
            return _expected_hits(ranks, ranks.num_relevant) / np.maximum(ranks.num_relevant, 1)
        case "recall":
            return _recall(ranks, k)
        case "rsum":
            return sum((_recall(ranks, cutoff) for cutoff in RECALL_CUTOFFS), np.zeros(ranks.num_queries))
        case "median-rank":
            return _first_rank(ranks)
        case metric:
            raise ValueError(f"no formula for {metric}")


def _average_precision(ranks: Ranks, k: int, normaliser: str | None) -> Floats:
    """Compute S_K over R, min(R, K) or h_K, see `Protocol`, `(Q,)`."""
    match normaliser:
        case None | "total":
            return _precision_sum(ranks, k) / np.maximum(ranks.num_relevant, 1)
        case "min":
            return _precision_sum(ranks, k) / np.clip(ranks.num_relevant, 1, k)
        case "hits":
            return _mean_precision_of_hits(ranks, k)
        case "hits-nonempty":
            probability = _recall(ranks, k)
            return _mean_precision_of_hits(ranks, k) / np.where(probability > 0, probability, np.nan)
        case "first":
            return _precision_sum_of_first(ranks, k) / np.clip(ranks.num_relevant, 1, k)
        case _:
            raise ValueError(f"no formula for {normaliser}")


def _precision_sum(ranks: Ranks, k: ArrayLike) -> Floats:
    """Compute E S_K, with one K or one of each query, `(Q,)`."""
    hits = sums_before(ranks.relevant, ranks.offsets)
    return _per_query_sum(ranks, _precisions(hits, ranks.above, ranks.size, ranks.relevant, _places(ranks, k)))


def _mean_precision_of_hits(ranks: Ranks, k: int) -> Floats:
    """Compute E S_K / h_K, 0 where h_K = 0, `(Q,)`.

    Of the group that place `k` cuts, c relevant items are in the list, where c is hypergeometric; all groups above it
    are whole, so that given c, h_K is known and S_K has a closed expectation.
    """
    hits, query = sums_before(ranks.relevant, ranks.offsets), ranks.query
    whole = ranks.above + ranks.size <= k
    precisions = _precisions(hits, ranks.above, ranks.size, ranks.relevant, ranks.size)
    total = _per_query_sum(ranks, np.where(whole, precisions, 0))
    mean = total / np.maximum(_per_query_sum(ranks, np.where(whole, ranks.relevant, 0)), 1)

    cut = np.flatnonzero(~whole & (ranks.above < k))
    before, above, size, relevant = (array[cut, None] for array in (hits, ranks.above, ranks.size, ranks.relevant))
    places = k - above
    c = np.arange(places.max(initial=0) + 1)
    sums = total[query[cut], None] + _precisions(before, above, places, c, places)
    mean[query[cut]] = (_hypergeometric(c, size, relevant, places) * sums / np.maximum(before + c, 1)).sum(axis=1)
    return mean


def _precision_sum_of_first(ranks: Ranks, k: int) -> Floats:
    """Compute the expected sum of P_r over the first min(R, k) relevant items, however deep they are, `(Q,)`."""
    hits = sums_before(ranks.relevant, ranks.offsets)
    wanted = np.clip(k - hits, 0, ranks.relevant)
    whole = wanted == ranks.relevant
    sums = np.where(whole, _precisions(hits, ranks.above, ranks.size, ranks.relevant, ranks.size), 0)

    cut = np.flatnonzero(~whole & (wanted > 0))
    cases = np.stack([array[cut] for array in (hits, ranks.above, ranks.size, ranks.relevant, wanted)], axis=1)
    cases, case = np.unique(cases, axis=0, return_inverse=True)
    sums[cut] = np.array([_precisions_of_first(*values) for values in cases.tolist()])[case]
    return _per_query_sum(ranks, sums)


def _expected_hits(ranks: Ranks, k: ArrayLike) -> Floats:
    """Compute E h_K, with one K or one of each query, `(Q,)`."""
    return _per_query_sum(ranks, ranks.relevant * (_places(ranks, k) / ranks.size))


def _places(ranks: Ranks, k: ArrayLike) -> NDArray[np.int64]:
    """Count the places of each tie group among the first K, with one K or one of each query, `(M,)`."""
    cutoffs = np.broadcast_to(k, ranks.num_queries)[ranks.query]
    return np.clip(cutoffs - ranks.above, 0, ranks.size)


def _recall(ranks: Ranks, k: int) -> Floats:
    """Compute the probability that h_K > 0, `(Q,)`."""
    answered, first = _first_groups(ranks)
    size = ranks.size[first]
    places = np.clip(k - ranks.above[first], 0, size)
    recall = np.zeros(ranks.num_queries)
    recall[answered] = 1 - _hypergeometric(0, size, ranks.relevant[first], places)
    return recall


def _first_rank(ranks: Ranks) -> Floats:
    """Compute the expected rank of the first relevant item, counted from 1, `(Q,)`."""
    answered, first = _first_groups(ranks)
    expected = np.full(ranks.num_queries, ranks.gallery_size + 1.0)
    expected[answered] = ranks.above[first] + (ranks.size[first] + 1) / (ranks.relevant[first] + 1)
    return expected


def _first_groups(ranks: Ranks) -> tuple[NDArray, NDArray]:
    """Return the queries that have a relevant item, and the first tie group of each."""
    answered = np.flatnonzero(np.diff(ranks.offsets))
    return answered, ranks.offsets[answered]


def _per_query_sum(ranks: Ranks, values: NDArray) -> Floats:
    return np.bincount(ranks.query, weights=values, minlength=ranks.num_queries).astype(np.float64, copy=False)


def _precisions(hits: NDArray, above: NDArray, size: NDArray, relevant: NDArray, places: NDArray) -> Floats:
    """Compute the expected sum of P_r over the relevant items in the first `places` places of tie groups, elementwise.

    The item in place j of the group is relevant with probability relevant/size, and if it is, hits + 1 +
    (j-1) (relevant-1)/(size-1) relevant items are expected down to it, so P_r is expected to be that over above+j.
    Summed over j this is a multiple of a difference of harmonic numbers and a multiple of `places`.
    """
    harmonic = np.concatenate(([0], np.cumsum(1 / np.arange(1, (above + places).max(initial=0) + 1))))
    slope = (relevant - 1) / np.maximum(size - 1, 1)
    reciprocals = harmonic[above + places] - harmonic[above]
    return relevant / size * (slope * places + (hits + 1 - slope * (above + 1)) * reciprocals)


def _precisions_of_first(hits: int, above: int, size: int, relevant: int, wanted: int) -> float:
    """Compute the expected sum of P_r over the first `wanted` relevant items of one tie group.

    Place j holds the i-th of them with probability relevant/size times that of i-1 among the j-1 places before it.
    """
    before = np.arange(size)
    reciprocals = 1 / (above + 1 + before)
    total = 0.0
    for i in range(wanted):
        total += (hits + 1 + i) * float(_hypergeometric(i, size - 1, relevant - 1, before) @ reciprocals)
    return relevant / size * total


def _hypergeometric(hits: ArrayLike, size: ArrayLike, relevant: ArrayLike, places: ArrayLike) -> Floats:
    """Compute the probability of `hits` relevant items in `places` drawn of `size`, elementwise."""
    # In logarithms of factorials: `scipy.stats.hypergeom` takes about 0.1 ms for each value.
    hits, size, relevant, places = (np.asarray(value) for value in (hits, size, relevant, places))
    chosen = _log_binomial(relevant, hits) + _log_binomial(size - relevant, places - hits)
    return np.exp(chosen - _log_binomial(size, places))


def _log_binomial(n: NDArray, k: NDArray) -> Floats:
    """Compute the logarithm of C(n, k): minus infinity outside 0 <= k <= n, where one factorial is infinite."""
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
