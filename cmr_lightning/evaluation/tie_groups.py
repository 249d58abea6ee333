"""Tie groups: the items with the same similarity as a relevant item, found for a few queries at a time."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

_FEW = 16
"""Relevant items per query up to which comparing each with the gallery is faster than sorting the gallery."""


class TieGroups(NamedTuple):
    """Tie groups of b queries with M groups in all, as `Ranks` lists them.

    Attributes:
        counts: Groups of each query, `(b,)` int64.
        above: Items that are more similar than those of the group, `(M,)` int32.
        size: Items in the group, `(M,)` int32.
        relevant: Relevant items in the group, `(M,)` int32.
    """

    counts: NDArray
    above: NDArray
    size: NDArray
    relevant: NDArray


def tie_groups(similarities: Tensor, relevant: Tensor) -> TieGroups:
    """Find the tie groups of b queries.

    Args:
        similarities: Similarities `(b, G)` int32 in [-1, 2**30), which are overwritten. An item of similarity -1 is not
            in the gallery of the query, and must not be relevant.
        relevant: True for each relevant item, `(b, G)` bool.
    """
    if similarities.device.type != "cpu":
        return _of_sorted_keys((similarities * -2 + ~relevant).sort(dim=1).values.cpu().numpy())
    values, truth = similarities.numpy(), relevant.numpy()
    if np.count_nonzero(truth) <= _FEW * len(truth):
        return _by_counting(values, truth)
    return _of_sorted_keys(_sorted_keys(values, truth))


def _by_counting(similarities: NDArray[np.int32], relevant: NDArray[np.bool_]) -> TieGroups:
    """Compare each relevant item with the whole gallery: first that of every query, then the second, and so on."""
    items = similarities.shape[1]
    found = np.flatnonzero(relevant)
    row, value = found // items, similarities.ravel()[found]
    nth = np.arange(len(row)) - np.searchsorted(row, row)
    above, size = np.empty((2, len(row)), np.int64)
    for n in range(nth.max(initial=-1) + 1):
        of = np.flatnonzero(nth == n)
        compared = similarities if len(of) == len(similarities) else similarities[row[of]]
        above[of] = _true_in_rows(compared > value[of, None])
        equal = compared == value[of, None]
        size[of] = 1 if np.count_nonzero(equal) == len(of) else _true_in_rows(equal)  # ties are rare
    _, first, relevant_in_group = np.unique(row * items + above, return_index=True, return_counts=True)
    counts = np.bincount(row[first], minlength=len(similarities))
    return TieGroups(counts, *(a.astype(np.int32) for a in (above[first], size[first], relevant_in_group)))


def _true_in_rows(matrix: NDArray[np.bool_]) -> NDArray[np.int32]:
    # On packed bits several times as fast as `count_nonzero(matrix, axis=1)`.
    return np.bitwise_count(np.packbits(matrix, axis=1)).sum(axis=1, dtype=np.int32)


def _sorted_keys(similarities: NDArray[np.int32], relevant: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Sort each row of the keys -2 * similarity, plus 1 for an item that is not relevant, `(b, G)`.

    The most similar items come first, within a tie group the relevant ones. The keys overwrite the similarities.
    """
    # One number holds similarity and relevance, so values can be sorted without their positions, which is several times
    # faster than an argsort. NumPy sorts integers an order of magnitude faster than torch.
    keys = similarities
    np.multiply(keys, -2, out=keys)
    np.add(keys, ~relevant, out=keys)
    keys.sort(axis=1)
    return keys


def _of_sorted_keys(keys: NDArray[np.int32]) -> TieGroups:
    """Find the tie groups in sorted rows of keys, `(b, G)`, which are even where an item is relevant."""
    flat = keys.ravel()
    row_starts = np.arange(len(keys) + 1) * keys.shape[1]
    places = _even(flat)
    of_row = np.searchsorted(places, row_starts)
    value = flat.take(places)
    starts_group = np.ones(len(places), dtype=bool)
    np.not_equal(value[1:], value[:-1], out=starts_group[1:])
    starts_group[of_row[:-1][of_row[:-1] < of_row[1:]]] = True
    first = np.flatnonzero(starts_group)
    relevant = np.diff(first, append=len(places)).astype(np.int32)
    start, value = places.take(first), value.take(first)
    counts = np.diff(np.searchsorted(first, of_row))
    row_start = np.repeat(row_starts[:-1], counts)
    size, end = relevant.copy(), start + relevant
    longer = np.flatnonzero(flat.take(end, mode="clip") == value + 1)  # few groups also hold irrelevant items
    next_start = np.append(start, flat.size)[longer + 1]
    most = np.minimum(next_start, row_start[longer] + keys.shape[1])
    size[longer] = _ends(flat, end[longer], most, value[longer] + 1) - start[longer]
    return TieGroups(counts, (start - row_start).astype(np.int32), size, relevant)


def _even(flat: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the positions of even keys, ascending."""
    # NumPy's `flatnonzero` has a branchless loop, up to four times as fast, for arrays of which more than a tenth is
    # true. An eighth more, all true, ensures that it is taken.
    more = len(flat) // 8 + 1
    even = np.ones(len(flat) + more, dtype=bool)
    np.equal(flat.astype(np.uint8) & 1, 0, out=even[: len(flat)])
    return np.flatnonzero(even)[:-more]


def _ends(flat: NDArray, low: NDArray, high: NDArray, last: NDArray) -> NDArray:
    """Find the first position in each sorted run `flat[low:high]` whose key exceeds `last`, by one binary search."""
    while (low < high).any():
        middle = (low + high) // 2
        within = (low < high) & (flat.take(middle, mode="clip") <= last)
        low, high = np.where(within, middle + 1, low), np.where(within, high, middle)
    return low
