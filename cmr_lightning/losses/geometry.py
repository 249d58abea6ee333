"""Directions of embeddings and the angles between them."""

from __future__ import annotations

import torch
from torch import Tensor

SHORTEST = 1e-6
"""Embeddings shorter than this have no direction (choice; the clamp of the cosine's denominator in DSCMR's code)."""


def unit(embeddings: Tensor) -> Tensor:
    """Embeddings scaled to length 1, `(N, D)` to `(N, D)`.

    An embedding shorter than `SHORTEST` becomes zero and gets no gradient: dividing by a clamped length instead would
    send it a gradient of 1 / `SHORTEST`, which half precision cannot hold.
    """
    length = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
    return embeddings / length.masked_fill(length < SHORTEST, torch.inf)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine of each of `first`, `(N, D)`, with each of `second`, `(M, D)`: `(N, M)` in -1..1, 0 for a zero vector."""
    return unit(first) @ unit(second).T
