"""Similarities as whole numbers: exact enough that equal embeddings tie, and fast."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from cmr_lightning.errors import UserError

_RESOLUTION = 2**29
"""Steps from 0 to 1 of a score: the largest power of two that leaves room in an int32 for one bit and the sign."""

_QUERIES, _ITEMS = 128, 1024
"""What one core of a CPU multiplies at once: the products are still in its cache when they are rounded."""


def similarities(
    queries: Tensor, gallery: Tensor, distance: str, block_elements: int, share: slice = slice(None)
) -> Iterator[tuple[slice, Tensor]]:
    """Similarities in blocks of the queries `share`: rows, and `(b, G)` int32 in [-2**29, 2**29].

    Equal embeddings must tie, whatever the size of the block, the edge kernels of the matrix product, or the order of
    the gallery, each of which may move the last bits of a product. So products are computed in float64 and rounded to
    steps of 2**-29 of their range: 1 for a cosine, the largest possible squared distance of the query for l2. Rounding
    to float32 would not do: its steps shrink with the value, so it keeps the noise of float64 where products nearly
    cancel, as between an embedding and its equal under l2.

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
    q_norm, g_norm = _norms(q_all, "queries"), _norms(g_all, "gallery items")
    farthest = (q_norm + g_norm.max()).square()
    step = _RESOLUTION / farthest.where(farthest > 0, 1)
    if distance == "cos":
        q_scale, g_scale = _RESOLUTION / q_norm.where(q_norm > 0, 1), 1 / g_norm.where(g_norm > 0, 1)
    else:
        q_scale, g_scale = 2 * step, torch.ones_like(g_norm)
    queries_at_once, items_at_once = _tile(block_elements, gallery)
    scores, products, wide = (q_norm.new_empty(0, dtype=d) for d in (torch.int32, torch.float64, torch.float64))
    first, end, _ = share.indices(len(queries))
    for rows in _slices(first, end, block_elements // len(gallery)):
        q = q_all[rows].double() * q_scale[rows]
        scores.resize_(len(q), len(gallery))
        for tile in _slices(0, len(gallery), items_at_once):
            g = wide.resize_(g_all[tile].shape).copy_(g_all[tile]).mul_(g_scale[tile])
            for part in _slices(0, len(q), queries_at_once):
                similarity = torch.mm(q[part], g.T, out=products.resize_(len(q[part]), len(g)))
                if distance == "l2":
                    squares = q_norm[rows][part].square() + g_norm[tile].square().T
                    similarity.addcmul_(step[rows][part], squares, value=-1)
                scores[part, tile] = similarity.round_()
        yield rows, scores


def _tile(block_elements: int, gallery: Tensor) -> tuple[int, int]:
    """Queries and gallery items that are multiplied at once."""
    items = max(1, block_elements // gallery.shape[1])
    if gallery.is_cuda:
        return block_elements, items
    return _QUERIES * torch.get_num_threads(), min(items, _ITEMS)


def _slices(first: int, end: int, most: int) -> list[slice]:
    """Slices of at most `most` (and at least 1) rows."""
    step = max(1, most)
    return [slice(start, min(start + step, end)) for start in range(first, end, step)]


def _norms(embeddings: Tensor, items: str) -> Tensor:
    """Lengths `(N, 1)` in float64, which are finite where the embeddings are."""
    norms = embeddings.new_empty(len(embeddings), 1, dtype=torch.float64)
    for part in _slices(0, len(embeddings), _ITEMS):
        norms[part] = embeddings[part].double().square().sum(dim=1, keepdim=True)
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
