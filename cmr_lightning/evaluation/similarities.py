"""Similarities as integers: exact enough that equal embeddings tie, and fast."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cmr_lightning.errors import UserError

_STEPS = 2**30
"""Number of similarity levels: the largest power of two that leaves room in an int32 for one bit and the sign."""

_TILE = 504
"""Queries and items that one core of a CPU multiplies at once: the products are still in its cache when rounded.

It is a multiple of the sizes of matrix product kernels (6, 8, 12, 24), and no power of two: rows of such a length would
compete for few cache lines, which takes 5 % more time.
"""


def similarities(
    queries: Tensor, gallery: Tensor, distance: str, block_elements: int, share: slice = slice(None)
) -> Iterator[tuple[slice, Tensor]]:
    """Compute similarities in blocks of the queries `share`: rows, and `(b, G)` int32 in [0, 2**30).

    They are 2**29 (1 + cos(q, g)) - 1 for `cos` and 2**30 (1 - |q - g|^2 / F^2) - 1 for `l2`, where F is the largest
    possible distance of the query, rounded, and 0 in place of -1. Each block overwrites the previous one.

    Args:
        queries: Embeddings `(Q, D)`.
        gallery: Embeddings `(G, D)`; if it is mapped from a file, it is never in memory as a whole.
        distance: `cos` or `l2`; the cosine with a vector of zeros is 0.
        block_elements: Largest size of a block, unless a single query exceeds it.
        share: Selection of the queries.

    Raises:
        UserError: Embeddings are not finite.
        ValueError: There are no queries, or no gallery.
    """
    # Equal embeddings must tie, whatever the size of the block, the edge kernels of the matrix product, or the order of
    # the gallery, each of which may change the last bits of a product. So products are computed in float64, where these
    # bits are a millionth of a step. Float32 would not do: its steps shrink with the value, so it keeps the noise where
    # products nearly cancel, as between an embedding and its equal under l2. All terms of a similarity are in the
    # product: those of a query or an item alone are two more dimensions, which also hold the half step that turns
    # truncation into rounding.
    if not len(queries) or not len(gallery):
        raise ValueError("there is nothing to rank")
    q_all, g_all = (_on_float64_device(embeddings) for embeddings in (queries, gallery))
    q_terms, g_terms = _terms(_norms(q_all, "queries"), _norms(g_all, "gallery items"), distance)
    queries_at_once, items_at_once = _tile(block_elements, g_all)
    block = g_terms.new_empty(0, dtype=torch.int32)
    q_wide, g_wide, products = (g_terms.new_empty(0) for _ in range(3))
    first, end, _ = share.indices(len(queries))
    for rows in _slices(first, end, min(block_elements // len(gallery), queries_at_once)):
        q = _widened(q_all[rows], q_terms[rows], q_wide)
        block.resize_(len(q), len(gallery))
        for tile in _slices(0, len(gallery), items_at_once):
            g = _widened(g_all[tile], g_terms[tile], g_wide)
            for part in _slices(0, len(q), queries_at_once):
                block[part, tile] = torch.mm(q[part], g.T, out=products.resize_(len(q[part]), len(g)))
        yield rows, block


def _terms(q_norm: Tensor, g_norm: Tensor, distance: str) -> tuple[Tensor, Tensor]:
    """Compute the factors of embeddings of given norms, and their two more dimensions: `(Q, 3)` and `(G, 3)`."""
    q, g = (norm.new_empty(len(norm), 3) for norm in (q_norm, g_norm))
    if distance == "cos":
        half = _STEPS / 2
        q[:, 0], q[:, 1], q[:, 2] = half / q_norm.where(q_norm > 0, 1), half - 0.5, 0
        g[:, 0], g[:, 1], g[:, 2] = 1 / g_norm.where(g_norm > 0, 1), 1, 0
    else:
        farthest = (q_norm + g_norm.max()).square()
        step = _STEPS / farthest.where(farthest > 0, 1)
        q[:, 0], q[:, 1], q[:, 2] = 2 * step, _STEPS - 0.5 - step * q_norm.square(), -step
        g[:, 0], g[:, 1], g[:, 2] = 1, 1, g_norm.square()
    return q, g


def _widened(embeddings: Tensor, terms: Tensor, out: Tensor) -> Tensor:
    """Write embeddings `(n, D)` as factors of the product into `out`, `(n, D + 2)` float64."""
    dim = embeddings.shape[1]
    out.resize_(len(embeddings), dim + 2)
    out[:, :dim] = embeddings
    out[:, :dim] *= terms[:, :1]
    out[:, dim:] = terms[:, 1:]
    return out


def _tile(block_elements: int, gallery: Tensor) -> tuple[int, int]:
    """Choose the number of queries and of gallery items that are multiplied at once."""
    items = max(1, block_elements // gallery.shape[1])
    if gallery.device.type != "cpu":
        return block_elements, items
    return _TILE * torch.get_num_threads(), min(items, _TILE)


def _slices(first: int, end: int, most: int) -> list[slice]:
    """Cut a range into slices of at most `most` (and at least 1) rows."""
    step = max(1, most)
    return [slice(start, min(start + step, end)) for start in range(first, end, step)]


def _norms(embeddings: Tensor, items: str) -> Tensor:
    """Compute Euclidean norms, `(N,)` float64, and refuse embeddings that are not finite."""
    norms = embeddings.new_empty(len(embeddings), dtype=torch.float64)
    for part in _slices(0, len(embeddings), _TILE):
        norms[part] = embeddings[part].double().square().sum(dim=1)
    norms.sqrt_()
    broken = int((~norms.isfinite()).sum())
    if broken:
        raise UserError(
            f"The embeddings of {broken} of {len(embeddings)} {items} are not finite: training has diverged, or the "
            "features hold NaN or infinity."
        )
    return norms


def _on_float64_device(embeddings: Tensor) -> Tensor:
    """Move embeddings to the CPU if their device lacks float64 (Apple's mps)."""
    return embeddings.detach().cpu() if embeddings.device.type == "mps" else embeddings.detach()
