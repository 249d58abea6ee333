"""Which gallery items answer a query."""

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
"""Relevances by several labels that are computed at once, or those of one query: they stay in a CPU's cache."""


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
        if self.query.device.type == "cpu":  # NumPy compares several times as fast
            return torch.from_numpy(self._block(rows))
        if self.query.ndim == 2:
            return self.query[rows].float() @ self.gallery.float().T > 0
        return self.query[rows, None] == self.gallery

    def _block(self, rows: slice) -> NDArray[np.bool_]:
        """The same by NumPy."""
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
        """The same with queries and gallery exchanged."""
        return Relevance(self.gallery, self.query)

    def to(self, device: torch.device) -> Relevance:
        """The same with the keys on `device`."""
        if self.query.device == self.gallery.device == device:
            return self
        return Relevance(self.query.to(device), self.gallery.to(device))


def _words(keys: Tensor) -> NDArray[np.unsignedinteger]:
    """Multi-hot keys `(N, C)` as the bits of whole numbers, `(W, N)`: 32 or 64 classes are compared at once."""
    octets = np.packbits(keys.numpy() != 0, axis=1)
    word = np.dtype(np.uint32 if octets.shape[1] <= 4 else np.uint64)
    octets = np.pad(octets, ((0, 0), (0, -octets.shape[1] % word.itemsize)))
    return np.ascontiguousarray(octets.view(word).T)


@dataclass(frozen=True)
class Positives:
    """Relevance by lists, for what people judged and no key expresses; an item without a list is no query.

    Attributes:
        rows: Which of the items that could be queries are the Q queries, in rising order, `(Q,)` int64.
        query: Which of the Q queries each of P positives belongs to, `(P,)` int64.
        gallery: Row of the positive in the gallery, `(P,)` int64.
        gallery_size: Number of gallery items G.
    """

    rows: Tensor
    query: Tensor
    gallery: Tensor
    gallery_size: int

    @classmethod
    def of(cls, lists: Mapping[int, Sequence[int]], gallery_size: int) -> Positives:
        """From the rows of the relevant gallery items by the row of the query."""
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
        """Whether each gallery item is relevant to each of the queries `rows`, `(b, G)` bool."""
        start, stop, _ = rows.indices(len(self))
        inside = (self.query >= start) & (self.query < stop)
        relevant = torch.zeros(stop - start, self.gallery_size, dtype=torch.bool, device=self.query.device)
        relevant[self.query[inside] - start, self.gallery[inside]] = True
        return relevant

    def to(self, device: torch.device) -> Positives:
        """The same with the lists on `device`."""
        return Positives(self.rows.to(device), self.query.to(device), self.gallery.to(device), self.gallery_size)


class Judgements(NamedTuple):
    """What people found relevant, in both directions: the lists of images need not agree with those of texts.

    Attributes:
        i2t: The texts that answer an image.
        t2i: The images that answer a text.
    """

    i2t: Positives
    t2i: Positives


class Compositions(NamedTuple):
    """What composed queries ask for, as rows of M images.

    Attributes:
        source: Image that each of Q queries starts from, `(Q,)` int64; it is never among the query's own results.
        target: Image that it asks for, `(Q,)` int64.
        keys: For each relevance but `target` the keys of the images, `(M,)` int64: images of the target's key answer.
        fold: Which fold each image is in, counted from 0, `(M,)` int64; None where no protocol has folds.
    """

    source: Tensor
    target: Tensor
    keys: Mapping[str, Tensor]
    fold: Tensor | None = None
