"""Items of a part: tensors in memory, or something that reads them when they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

from cmr_lightning.batch import Features, Pixels, Text, Tokens, count, rows

Batch = TypeVar("Batch")
Index = TypeVar("Index")


class Stored(ABC):
    """Images or texts on disk, read by row."""

    @property
    @abstractmethod
    def form(self) -> Features | Pixels:
        """What an encoder will be fed with."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of items M."""

    @abstractmethod
    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Some items, in the order asked for.

        Args:
            index: Rows `(N,)`, int64; a row may occur more than once.
            generator: Where training draws its augmentation from; None in evaluation, which has none.

        Returns:
            Feature vectors `(N, D)` float32, in training `(N, turns, D)` where there are several of an image, or
            pictures `(N, 3, H, W)` uint8.

        Raises:
            UserError: If an item cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """What changes when the items change, cheap to tell."""


Content = Text | Stored
"""Images or texts of a part."""


def take(content: Content, index: Tensor, generator: torch.Generator | None = None) -> Text:
    """Rows `index` of the content, in that order; see `Stored.rows`."""
    return content.rows(index, generator) if isinstance(content, Stored) else rows(content, index)


def size(content: Content) -> int:
    """Number of items."""
    return len(content) if isinstance(content, Stored) else count(content)


def form(content: Tensor | Stored) -> Features | Pixels:
    """What an encoder of images or feature vectors will be fed with."""
    if isinstance(content, Stored):
        return content.form
    return Pixels(content.shape[-1]) if content.ndim == 4 else Features(content.shape[1])


def fingerprints(content: Content) -> Iterator[bytes]:
    """Bytes that change when the content does."""
    if isinstance(content, Stored):
        yield content.fingerprint().encode()
        return
    for tensor in content if isinstance(content, Tokens) else (content,):
        yield str((tuple(tensor.shape), tensor.dtype)).encode()
        yield tensor.contiguous().numpy().tobytes()


def ahead(read: Callable[[Index], Batch], indices: Iterable[Index], depth: int = 2) -> Iterator[Batch]:
    """Batches, read in threads of their own while the batches before them are used.

    Args:
        read: Reads one batch.
        indices: What to read, batch after batch.
        depth: Batches that are read at once, before they are asked for.
    """
    waiting: deque[Future[Batch]] = deque()
    with ThreadPoolExecutor(depth, "batches") as pool:
        try:
            for index in indices:
                waiting.append(pool.submit(read, index))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
