"""Exact ranks: where the relevant items of each query are, and nothing else.

All metrics here are functions of a few integers for each relevant item, so these are computed once, kept beside the
record of a run, and any metric can be computed from them later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.relevance import Positives, Relevance
from cmr_lightning.evaluation.similarities import similarities
from cmr_lightning.evaluation.tie_groups import TieGroups, tie_groups
from cmr_lightning.files.npz_file import DAMAGES, read_arrays
from cmr_lightning.files.whole_file import whole_file

_BLOCK, _BLOCK_OF_A_GPU = 2**26, 2**24
"""Similarities that are computed at once: some hundred queries even with hundreds of thousands of items."""

_MOST_BYTES = 2**32
"""Ranks that are read, unpacked: those of a million queries with a thousand tie groups each."""

_CACHE = 2**19
"""Similarities that a CPU thread processes at once: they fit its cache, and fewer would be slowed by Python's lock."""


@dataclass(frozen=True)
class Ranks:
    """Where the relevant items of Q queries are in a ranked gallery of G items.

    Items of equal score form a tie group. The groups with at least one relevant item are listed query by query, best
    group first; the M groups of all queries follow one another.

    Attributes:
        offsets: Groups `offsets[q]` to `offsets[q + 1]` belong to query q, `(Q + 1,)` int64. A query without a
            relevant item has none.
        above: Items of the gallery with a better score than the group, `(M,)` int32.
        size: Items in the group, `(M,)` int32.
        relevant: Relevant items in the group, `(M,)` int32, 1 or more.
        gallery_size: G.
    """

    offsets: NDArray[np.int64]
    above: NDArray[np.int32]
    size: NDArray[np.int32]
    relevant: NDArray[np.int32]
    gallery_size: int

    @property
    def num_queries(self) -> int:
        """Number of queries Q."""
        return len(self.offsets) - 1

    @property
    def query(self) -> NDArray[np.int64]:
        """The query to which each group belongs, `(M,)`."""
        return np.repeat(np.arange(self.num_queries), np.diff(self.offsets))

    @property
    def num_relevant(self) -> NDArray[np.int64]:
        """Relevant items in the gallery for each query, `(Q,)`."""
        return np.diff(np.concatenate(([0], np.cumsum(self.relevant, dtype=np.int64)))[self.offsets])

    def parts(self, groups: int = 2**22) -> Iterator[Ranks]:
        """Split into runs of whole queries with at most `groups` tie groups (or one query), to bound memory."""
        start = 0
        while start < self.num_queries:
            end = int(np.searchsorted(self.offsets, self.offsets[start] + groups, side="right")) - 1
            end = max(end, start + 1)
            low, high = self.offsets[start], self.offsets[end]
            above, size, relevant = (column[low:high] for column in (self.above, self.size, self.relevant))
            yield Ranks(self.offsets[start : end + 1] - low, above, size, relevant, self.gallery_size)
            start = end


def sums_before(values: NDArray, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sum `values` `(M,)` over the groups of the same query before each tie group, `(M,)`."""
    sums = np.concatenate(([0], np.cumsum(values, dtype=np.int64)))
    return sums[:-1] - np.repeat(sums[offsets[:-1]], np.diff(offsets))


class Team(Protocol):
    """Processes that share the work of a ranking; each holds all embeddings."""

    def share(self, queries: int) -> slice:
        """Return the queries that this process ranks; the shares of all processes are consecutive."""

    def together(self, arrays: Sequence[NDArray]) -> list[NDArray]:
        """Concatenate each of some arrays of equal length `(n,)` over the processes, in their order."""


_team: ContextVar[Team | None] = ContextVar("team", default=None)


@contextmanager
def ranking_as(team: Team | None) -> Iterator[None]:
    """Let `rank` do a share of the work in each process of a team, and return the whole result in all of them."""
    token = _team.set(team)
    try:
        yield
    finally:
        _team.reset(token)


def rank(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance | Positives,
    distance: str,
    block_elements: int | None = None,
    excluded: Tensor | None = None,
) -> Ranks:
    """Rank the gallery for every query, exactly, in blocks of queries, on the device of the embeddings.

    The cosine with a vector of zeros is 0. Items are tied when their similarities agree to about 1e-9 of the range of
    similarities, see `similarities`. A device without float64 (Apple's mps) hands its embeddings to the CPU.

    Args:
        queries: Embeddings `(Q, D)`.
        gallery: Embeddings `(G, D)`.
        relevance: The relevant gallery items of each query.
        distance: `cos` or `l2`.
        block_elements: Similarities computed at once, which bounds the memory: about 5 bytes each, 40 on a GPU. By
            default 2**26, and 2**24 on a GPU.
        excluded: The one row of the gallery that each query does not search, `(Q,)` int64, if there is one; the
            gallery of a query then has G - 1 items.

    Raises:
        UserError: Embeddings are not finite.
        ValueError: Sizes do not agree, or one is 0.

    Examples:
        >>> gallery = torch.tensor([[3.0, 4.0], [1.0, 0.0], [6.0, 8.0]])  # the first and the third have one direction
        >>> keys = Relevance(torch.tensor([7]), torch.tensor([7, 0, 0]))
        >>> ranks = rank(torch.tensor([[1.0, 1.0]]), gallery, keys, "cos")
        >>> ranks.above.tolist(), ranks.size.tolist(), ranks.relevant.tolist()
        ([0], [2], [1])
    """
    if (len(queries), len(gallery)) != (len(relevance), relevance.gallery_size):
        keys = f"{len(relevance)} and {relevance.gallery_size} keys"
        raise ValueError(f"{len(queries)} queries and {len(gallery)} gallery items came with {keys}")
    team = _team.get()
    share = slice(0, len(queries)) if team is None else team.share(len(queries))
    if block_elements is None:
        block_elements = _BLOCK_OF_A_GPU if gallery.is_cuda else _BLOCK
    columns = [bytearray() for _ in TieGroups._fields]  # grow in place, as the groups may take most of the memory
    for groups in _tie_groups(queries, gallery, relevance, distance, block_elements, share, excluded):
        for column, values in zip(columns, groups, strict=True):
            column += values.data
    counts, *merged = map(np.frombuffer, columns, (np.int64, np.int32, np.int32, np.int32))
    if team is not None:
        (counts,), merged = team.together([counts]), team.together(merged)
    above, size, relevant_in_group = merged
    return Ranks(_offsets(counts), above, size, relevant_in_group, len(gallery) - (excluded is not None))


def top(
    queries: Tensor, gallery: Tensor, distance: str, k: int, block_elements: int = 2**24, excluded: Tensor | None = None
) -> Tensor:
    """Find the best `k` gallery items of every query, best first; equal ones in the order of the gallery.

    The other arguments are those of `rank`, but a similarity takes about 40 bytes on every device.

    Returns:
        Positions in the gallery, `(Q, min(k, G))` int64, on the device of the queries; with `excluded` at most G - 1.

    Raises:
        UserError: Embeddings are not finite.
        ValueError: There are no queries, or no gallery.

    Examples:
        >>> top(torch.tensor([[0.9]]), torch.tensor([[0.0], [1.0], [2.0]]), "l2", k=2)
        tensor([[1, 0]])
    """
    parts = []
    for rows, block in similarities(queries, gallery, distance, block_elements):
        if excluded is not None:
            _exclude(excluded[rows].to(block.device), block)
        distinct = block.long() * len(gallery) - torch.arange(len(gallery), device=block.device)
        parts.append(distinct.topk(min(k, len(gallery) - (excluded is not None)), dim=1).indices)
    return torch.cat(parts).to(queries.device)


def chance_ranks(
    relevance: Relevance | Positives, block_elements: int = _BLOCK, excluded: Tensor | None = None
) -> Ranks:
    """Return the ranks of a collapsed model: the whole gallery is one tie group. Arguments are those of `rank`."""
    counts = []
    step = max(1, block_elements // relevance.gallery_size)
    for start in range(0, len(relevance), step):
        rows = slice(start, start + step)
        relevant = relevance.block(rows)
        if excluded is not None:
            relevant.scatter_(1, excluded[rows, None], False)
        counts.append(relevant.sum(dim=1))
    found = torch.cat(counts).cpu().numpy()
    answers, size = found[found > 0].astype(np.int32), relevance.gallery_size - (excluded is not None)
    return Ranks(_offsets(found > 0), np.zeros_like(answers), np.full_like(answers, size), answers, size)


def save_ranks(path: Path, ranks: Mapping[str, Ranks]) -> None:
    """Write named ranks into one compressed NumPy archive; an interrupted write leaves no broken file behind."""
    arrays: dict[str, Any] = {f"{name}/{key}": a for name, part in ranks.items() for key, a in _packed(part).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as file:
        np.savez_compressed(file, **arrays)


def load_ranks(path: Path) -> dict[str, Ranks]:
    """Read the ranks that `save_ranks` wrote.

    Raises:
        UserError: The file is missing, or is no file of ranks.
    """
    packed: dict[str, dict[str, NDArray]] = {}
    try:
        for key, array in read_arrays(path, _MOST_BYTES).items():
            name, _, field = key.rpartition("/")
            packed.setdefault(name, {})[field] = array
        if not packed:
            raise ValueError("it is empty")
        return {name: _unpacked(**arrays) for name, arrays in packed.items()}
    except FileNotFoundError:
        raise UserError(f"There is no file of ranks {path}; `test` writes one beside the record of a run.") from None
    except DAMAGES as error:
        raise UserError(f"{path} is not a file of ranks ({error}); run `test` again to replace it.") from error


def _tie_groups(
    queries: Tensor,
    gallery: Tensor,
    relevance: Relevance | Positives,
    distance: str,
    block_elements: int,
    share: slice,
    excluded: Tensor | None,
) -> Iterator[TieGroups]:
    """Yield the tie groups of the queries `share`, a few queries at a time."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(threads, "ranks") as pool:  # NumPy releases Python's lock
        in_parallel = pool.map if threads > 1 else map  # a thread of its own would allocate memory more slowly
        for rows, block in similarities(queries, gallery, distance, block_elements, share):
            relevance = relevance.to(block.device)
            relevant = relevance.block(rows)
            if excluded is not None:
                _exclude(excluded[rows].to(block.device), block, relevant)
            piece = max(1, _CACHE // len(gallery)) if block.device.type == "cpu" else len(block)
            yield from in_parallel(tie_groups, block.split(piece), relevant.split(piece))


def _exclude(column: Tensor, block: Tensor, relevant: Tensor | None = None) -> None:
    """Remove one item of each row, `(b,)`, from the gallery: less similar than any other, and not relevant."""
    block.scatter_(1, column[:, None], -1)
    if relevant is not None:
        relevant.scatter_(1, column[:, None], False)


def _offsets(counts: NDArray) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))


def _packed(ranks: Ranks) -> dict[str, NDArray]:
    """Make arrays that compress well: small integers, and instead of `above` the gaps between a query's groups."""
    ends = np.concatenate(([0], ranks.above + ranks.size))[:-1]
    ends[ranks.offsets[:-1][np.diff(ranks.offsets) > 0]] = 0
    gaps = ranks.above - ends
    arrays = {"groups": np.diff(ranks.offsets), "gaps": gaps, "size": ranks.size, "relevant": ranks.relevant}
    small = {key: array.astype(np.min_scalar_type(array.max(initial=0))) for key, array in arrays.items()}
    return {**small, "gallery_size": np.array(ranks.gallery_size)}


def _unpacked(groups: NDArray, gaps: NDArray, size: NDArray, relevant: NDArray, gallery_size: NDArray) -> Ranks:
    """Invert `_packed`.

    Raises:
        ValueError: If these are not the ranks of any queries.
    """
    arrays = (groups, gaps, size, relevant)
    if not all(array.ndim == 1 and array.dtype.kind in "ui" for array in arrays) or gallery_size.shape != ():
        raise ValueError("arrays of whole numbers are missing")
    groups, gaps, size, relevant = (array.astype(np.int64) for array in arrays)
    if len(groups) == 0 or not groups.sum() == len(gaps) == len(size) == len(relevant):
        raise ValueError("arrays have other lengths than the number of tie groups")
    offsets = _offsets(groups)
    above = gaps + sums_before(gaps + size, offsets)
    right = (groups >= 0).all() and (gaps >= 0).all() and (relevant >= 1).all() and (relevant <= size).all()
    if not right or not (above + size).max(initial=0) <= int(gallery_size) < 2**31:
        raise ValueError(f"tie groups do not fit into a gallery of {gallery_size} items")
    return Ranks(offsets, above.astype(np.int32), size.astype(np.int32), relevant.astype(np.int32), int(gallery_size))
