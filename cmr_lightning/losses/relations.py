"""Relations of the items of a batch, and averages over the pairs that a relation chooses."""

import torch
from torch import Tensor


def same_class(label_a: Tensor, label_b: Tensor) -> Tensor:
    """Compare labels: which items have a class in common?

    Multi-hot items are of the same class where they share at least one label. An item without any label, which as a
    class index is -1, is of no class, not even its own. Both labels are class indices, `(N,)` and `(M,)`, or both
    multi-hot, `(N, C)` and `(M, C)`; the result is `(N, M)` bool.

    Examples:
        >>> same_class(torch.tensor([[1, 0, 1], [0, 1, 0]]), torch.tensor([[0, 0, 1], [0, 0, 0]]))
        tensor([[ True, False],
                [False, False]])
    """
    if label_a.ndim == 1:
        return (label_a[:, None] == label_b[None, :]) & (label_b[None, :] >= 0)
    return label_a.float() @ label_b.float().T > 0


def same_image(ids_a: Tensor, ids_b: Tensor) -> Tensor:
    """Compare image ids `(N,)` and `(M,)`: which items show, or describe, the same image? `(N, M)` bool."""
    return ids_a[:, None] == ids_b[None, :]


def own_pairs(relation: Tensor) -> Tensor:
    """Mark where an item meets itself or its own partner: the diagonal of a relation `(N, N)`, as bool."""
    return torch.eye(len(relation), dtype=torch.bool, device=relation.device)


def match_distribution(match: Tensor, dtype: torch.dtype) -> Tensor:
    """Spread rows of sum 1 uniformly over the matches `(N, N)`; an item's own partner is always one of them."""
    matches = (match | own_pairs(match)).to(dtype)
    return matches / matches.sum(1, keepdim=True)


def mean_over_pairs(values: Tensor, chosen: Tensor) -> Tensor:
    """Average over the chosen pairs of each row, then over the rows that have any; 0 where no row has.

    Values and choice are `(N, M)`. Every item counts alike, however many partners the batch happens to hold for it, and
    pairs that are not chosen get no gradient.
    """
    partners = chosen.sum(1)
    row_means = values.masked_fill(~chosen, 0).sum(1) / partners.clamp_min(1)
    return row_means.sum() / (partners > 0).sum().clamp_min(1)
