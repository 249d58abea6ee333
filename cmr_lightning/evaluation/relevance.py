"""Which gallery items answer a query."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Relevance:
    """Relevance by keys, so that no matrix of queries by gallery is ever stored.

    Attributes:
        query: Keys of the queries: `(Q,)` integers, relevant to a gallery item of the same key (class index, image
            id), or multi-hot `(Q, C)`, relevant to a gallery item with which they share a class.
        gallery: Keys of the gallery in the same form, `(G,)` or `(G, C)`.

    Raises:
        ValueError: The keys are of different forms, or of none of the two.
    """

    query: Tensor
    gallery: Tensor

    def __post_init__(self) -> None:
        if self.query.ndim not in (1, 2) or self.query.shape[1:] != self.gallery.shape[1:]:
            shapes = f"{tuple(self.query.shape)} and {tuple(self.gallery.shape)}"
            raise ValueError(f"keys must be (Q,) and (G,), or (Q, C) and (G, C), but are {shapes}")
        if self.query.ndim == 1 and (self.query.is_floating_point() or self.gallery.is_floating_point()):
            raise ValueError("keys of shape (N,) must be integers")

    def __len__(self) -> int:
        return len(self.query)

    @property
    def gallery_size(self) -> int:
        """Number of gallery items G."""
        return len(self.gallery)

    def block(self, rows: slice) -> Tensor:
        """Whether each gallery item is relevant to each of the queries `rows`, `(b, G)` bool."""
        if self.query.ndim == 1:
            return self.query[rows, None] == self.gallery
        return self.query[rows].float() @ self.gallery.float().T > 0

    def transposed(self) -> Relevance:
        """The same with queries and gallery exchanged."""
        return Relevance(self.gallery, self.query)

    def to(self, device: torch.device) -> Relevance:
        """The same with the keys on `device`."""
        return Relevance(self.query.to(device), self.gallery.to(device))
