"""Which items of a batch belong together, and averages over the pairs that do or do not."""

from __future__ import annotations

import torch
from torch import Tensor


def same_class(label_a: Tensor, label_b: Tensor) -> Tensor:
    """Whether two items have a class in common.

    Args:
        label_a: Class index `(N,)`, or multi-hot `(N, C)`.
        label_b: Class index `(M,)`, or multi-hot `(M, C)`; of the same form as `label_a`.

    Returns:
        `(N, M)` bool. Multi-hot items are of the same class where they share at least one label, so that an item
        without any label is of no class, not even its own.
    """
    if label_a.ndim == 1:
        return label_a[:, None] == label_b[None, :]
    return label_a.float() @ label_b.float().T > 0


def same_image(ids_a: Tensor, ids_b: Tensor) -> Tensor:
    """Whether two items show, or describe, the same image.

    Args:
        ids_a: Image ids `(N,)`.
        ids_b: Image ids `(M,)`.

    Returns:
        `(N, M)` bool.
    """
    return ids_a[:, None] == ids_b[None, :]


def own_pairs(relation: Tensor) -> Tensor:
    """True where an item meets itself or its own partner: the diagonal of a relation `(N, N)`, as bool."""
    return torch.eye(len(relation), dtype=torch.bool, device=relation.device)


def match_distribution(match: Tensor, dtype: torch.dtype) -> Tensor:
    """Uniform distribution over the matches of each row; an item's own partner is always one of them.

    Args:
        match: Whether image i and text j belong together, `(N, N)` bool.
        dtype: Floating type of the result.

    Returns:
        `(N, N)`, non-negative, rows sum to 1.
    """
    matches = (match | own_pairs(match)).to(dtype)
    return matches / matches.sum(1, keepdim=True)


def mean_over_pairs(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean over the chosen pairs of each row, then over the rows that have any; 0 where no row has.

    Every item counts alike, however many partners the batch happens to hold for it.

    Args:
        values: One number a pair, `(N, M)`.
        chosen: Which pairs count, `(N, M)` bool.

    Returns:
        A scalar, which passes no gradient to pairs that are not chosen.
    """
    partners = chosen.sum(1)
    row_means = values.masked_fill(~chosen, 0).sum(1) / partners.clamp_min(1)
    return row_means.sum() / (partners > 0).sum().clamp_min(1)
