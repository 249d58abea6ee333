"""Similarities as whole numbers: exact enough that equal embeddings tie, and fast."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cmr_lightning.errors import UserError

_STEPS = 2**30
"""Steps of a similarity: the largest power of two that leaves room in an int32 for one bit and the sign."""

_TILE = 504
"""Queries and items that one core of a CPU multiplies at once: the products are in its cache when they are rounded.

It divides by the sizes of the kernels of matrix products (6, 8, 12, 24), and it is no power of two: rows of such a
length share few lines of the cache, and cost a twentieth more.
"""


def similarities(
    queries: Tensor, gallery: Tensor, distance: str, block_elements: int, share: slice = slice(None)
) -> Iterator[tuple[slice, Tensor]]:
    """Similarities in blocks of the queries `share`: rows, and `(b, G)` int32 in [0, 2**30).

    They are 2**29 (1 + cos(q, g)) - 1 for `cos` and 2**30 (1 - |q - g|^2 / F^2) - 1 for `l2`, where F is the largest
    possible distance of the query, rounded, and 0 in place of -1.

    Equal embeddings must tie, whatever the size of the block, the edge kernels of the matrix product, or the order of
    the gallery, each of which may move the last bits of a product. So products are computed in float64, where these
    bits are a millionth of a step. Rounding to float32 would not do: its steps shrink with the value, so it keeps the
    noise of float64 where products nearly cancel, as between an embedding and its equal under l2.

    All terms of a similarity are in the product: those of a query or an item alone are two more dimensions, in which is
    also the half step that makes cutting off the fraction a rounding.

    The gallery is widened to float64 tile by tile: a large one that is mapped from a file is never in memory as a
    whole. Each block is written over the one before.

    Args:
        queries: Embeddings `(Q, D)`.
        gallery: Embeddings `(G, D)`.
        distance: `cos` or `l2`; the cosine with a vector of zeros is 0.
        block_elements: Most numbers in a block, unless a single query has more.
        share: Which of the queries.

    Raises:
        UserError: Embeddings are not finite.
        ValueError: There are no queries, or no gallery.
    """
    if not len(queries) or not len(gallery):
        raise ValueError("there is nothing to rank")
    q_all, g_all = (_where_float64_is(embeddings) for embeddings in (queries, gallery))
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
    """What embeddings of such lengths are multiplied by, and the two dimensions that follow: `(Q, 3)` and `(G, 3)`."""
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
    """Embeddings `(n, D)` as factors of the product, `(n, D + 2)` float64."""
    dim = embeddings.shape[1]
    out.resize_(len(embeddings), dim + 2)
    out[:, :dim] = embeddings
    out[:, :dim] *= terms[:, :1]
    out[:, dim:] = terms[:, 1:]
    return out


def _tile(block_elements: int, gallery: Tensor) -> tuple[int, int]:
    """Queries and gallery items that are multiplied at once."""
    items = max(1, block_elements // gallery.shape[1])
    if gallery.device.type != "cpu":
        return block_elements, items
    return _TILE * torch.get_num_threads(), min(items, _TILE)


def _slices(first: int, end: int, most: int) -> list[slice]:
    """Slices of at most `most` (and at least 1) rows."""
    step = max(1, most)
    return [slice(start, min(start + step, end)) for start in range(first, end, step)]


def _norms(embeddings: Tensor, items: str) -> Tensor:
    """Lengths `(N,)` in float64, which are finite where the embeddings are."""
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


def _where_float64_is(embeddings: Tensor) -> Tensor:
    """Embeddings on their device, or on the CPU where that has no float64."""
    return embeddings.detach().cpu() if embeddings.device.type == "mps" else embeddings.detach()
