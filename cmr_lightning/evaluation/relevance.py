"""Relevance: the gallery items that answer each query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_CACHE = 2**15
"""Relevances by several labels that are computed at once, or those of one query: they fit a CPU's cache."""


@dataclass(frozen=True)
class Relevance:
    """Relevance by keys, which needs no matrix of queries by gallery.

    Attributes:
        query: Keys of the queries: `(Q,)` integers, relevant to a gallery item of the same key (class index, image
            id), or multi-hot `(Q, C)`, relevant to a gallery item with which they share a class.
        gallery: Keys of the gallery in the same form, `(G,)` or `(G, C)`.

    Raises:
        ValueError: The keys are of different forms, or of neither form.

    Examples:
        >>> Relevance(torch.tensor([3, 1]), torch.tensor([1, 3, 3])).block(slice(None)).tolist()
        [[False, True, True], [True, False, False]]
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
        """Compute the relevance of each gallery item to each of the queries `rows`, `(b, G)` bool."""
        if self.query.device.type == "cpu":  # NumPy compares several times as fast
            return torch.from_numpy(self._numpy_block(rows))
        if self.query.ndim == 2:
            return self.query[rows].float() @ self.gallery.float().T > 0
        return self.query[rows, None] == self.gallery

    def _numpy_block(self, rows: slice) -> NDArray[np.bool_]:
        if self.query.ndim == 1:
            return np.equal(self.query[rows, None].numpy(), self.gallery.numpy())
        query, gallery = _words(self.query[rows])[:, :, None], self._gallery_words
        relevant = np.empty((query.shape[1], self.gallery_size), dtype=bool)
        at_once = max(1, _CACHE // self.gallery_size)
        for start in range(0, len(relevant), at_once):
            part = slice(start, start + at_once)
            shared = query[0, part] & gallery[0]
            for word, classes in zip(query[1:, part], gallery[1:], strict=True):
                shared |= word & classes
            np.not_equal(shared, 0, out=relevant[part])
        return relevant

    @cached_property
    def _gallery_words(self) -> NDArray[np.unsignedinteger]:
        return _words(self.gallery)

    def transposed(self) -> Relevance:
        """Exchange queries and gallery."""
        return Relevance(self.gallery, self.query)

    def to(self, device: torch.device) -> Relevance:
        """Move the keys to `device`."""
        if self.query.device == self.gallery.device == device:
            return self
        return Relevance(self.query.to(device), self.gallery.to(device))


def _words(keys: Tensor) -> NDArray[np.unsignedinteger]:
    """Pack multi-hot keys `(N, C)` into the bits of integers, `(W, N)`, which compare 32 or 64 classes at once."""
    octets = np.packbits(keys.numpy() != 0, axis=1)
    word = np.dtype(np.uint32 if octets.shape[1] <= 4 else np.uint64)
    octets = np.pad(octets, ((0, 0), (0, -octets.shape[1] % word.itemsize)))
    return np.ascontiguousarray(octets.view(word).T)


@dataclass(frozen=True)
class Positives:
    """Relevance by lists, for human judgements that no key expresses; an item without a list is no query.

    Attributes:
        rows: Rows of the Q queries among the items of their modality, ascending, `(Q,)` int64.
        query: The query to which each of P positives belongs, `(P,)` int64 from 0 to Q - 1.
        gallery: Row of the positive in the gallery, `(P,)` int64.
        gallery_size: Number of gallery items G.
    """

    rows: Tensor
    query: Tensor
    gallery: Tensor
    gallery_size: int

    @classmethod
    def of(cls, lists: Mapping[int, Sequence[int]], gallery_size: int) -> Positives:
        """Make positives from the rows of the relevant gallery items by the row of the query."""
        rows = sorted(lists)
        return cls(
            rows=torch.tensor(rows, dtype=torch.int64),
            query=torch.arange(len(rows)).repeat_interleave(torch.tensor([len(lists[row]) for row in rows])),
            gallery=torch.tensor([item for row in rows for item in lists[row]], dtype=torch.int64),
            gallery_size=gallery_size,
        )

    def __len__(self) -> int:
        return len(self.rows)

    def block(self, rows: slice) -> Tensor:
        """Compute the relevance of each gallery item to each of the queries `rows`, `(b, G)` bool."""
        start, stop, _ = rows.indices(len(self))
        inside = (self.query >= start) & (self.query < stop)
        relevant = torch.zeros(stop - start, self.gallery_size, dtype=torch.bool, device=self.query.device)
        relevant[self.query[inside] - start, self.gallery[inside]] = True
        return relevant

    def to(self, device: torch.device) -> Positives:
        """Move the lists to `device`."""
        return Positives(self.rows.to(device), self.query.to(device), self.gallery.to(device), self.gallery_size)


class Judgements(NamedTuple):
    """Texts relevant to an image, and images relevant to a text, as humans judged; the two need not agree."""

    i2t: Positives
    t2i: Positives


class Compositions(NamedTuple):
    """Sources and targets of Q composed queries, as rows of M images.

    Attributes:
        source: Source image, `(Q,)` int64; it is never among the query's own results.
        target: Target image, `(Q,)` int64.
        keys: For each relevance but `target` the keys of the images, `(M,)` int64; images with the target's key are
            relevant.
        fold: Fold of each image, counted from 0, `(M,)` int64; None if no protocol has folds.
    """

    source: Tensor
    target: Tensor
    keys: Mapping[str, Tensor]
    fold: Tensor | None = None
