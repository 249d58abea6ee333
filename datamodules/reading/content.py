"""Items of a part: tensors in memory, or something that reads them when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import overload

import torch
from torch import Tensor

from cmr_lightning.batch import Features, Pixels, Text, Tokens, count, rows


class Stored(ABC):
    """Images or texts on disk, read by row."""

    @property
    def processes(self) -> int:
        """Processes that batches are read in; 0 for threads, which suffice where reading is waiting for a disk."""
        return 0

    @property
    @abstractmethod
    def form(self) -> Features | Pixels:
        """The input of an encoder."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of items M."""

    @abstractmethod
    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Read some items, in the order asked for.

        Args:
            index: Rows `(N,)`, int64; a row may occur more than once.
            generator: Where training draws its augmentation from; None in evaluation, which has none.

        Returns:
            Feature vectors `(N, D)` float32, `(N, turns, D)` where there are several of an image, or
            pictures `(N, 3, H, W)` uint8.

        Raises:
            UserError: If an item cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return what changes when the items do, without reading all of them."""


Content = Text | Stored
"""Images or texts of a part."""


@overload
def take(content: Tensor | Stored, index: Tensor, generator: torch.Generator | None = None) -> Tensor: ...
@overload
def take(content: Content, index: Tensor, generator: torch.Generator | None = None) -> Text: ...
def take(content: Content, index: Tensor, generator: torch.Generator | None = None) -> Text:
    """Read rows `index` of the content, in that order; see `Stored.rows`."""
    return content.rows(index, generator) if isinstance(content, Stored) else rows(content, index)


def size(content: Content) -> int:
    """Count the items."""
    return len(content) if isinstance(content, Stored) else count(content)


def form(content: Tensor | Stored) -> Features | Pixels:
    """Describe the input of an encoder of images or feature vectors.

    Examples:
        >>> form(torch.zeros(5, 128))
        Features(size=128, turns=1)
        >>> form(torch.zeros(5, 3, 32, 32, dtype=torch.uint8))
        Pixels(size=32)
    """
    if isinstance(content, Stored):
        return content.form
    return Pixels(content.shape[-1]) if content.ndim == 4 else Features(content.shape[1])


def fingerprints(content: Content) -> Iterator[bytes]:
    """Yield bytes that change when the content does."""
    if isinstance(content, Stored):
        yield content.fingerprint().encode()
        return
    for tensor in content if isinstance(content, Tokens) else (content,):
        yield str((tuple(tensor.shape), tensor.dtype)).encode()
        yield tensor.contiguous().numpy().tobytes()
