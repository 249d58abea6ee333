"""Listings: the picture files of a part of a data set, with their captions."""

from dataclasses import dataclass, replace
from itertools import compress
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Listing:
    """One part of a data set as its files list it, before pictures and captions become tensors.

    Attributes:
        pictures: M picture files relative to the root, `/` between folders; each of them once, or once in
            each fold that it is in.
        label: Labels of the pictures, class indices `(M,)` int64 or multi-hot `(M, C)` float32.
        captions: P texts.
        owner: Row of the picture that each caption belongs to, `(P,)` int64.
    """

    pictures: tuple[str, ...]
    label: Tensor
    captions: tuple[str, ...]
    owner: Tensor

    def of(self, keep: Tensor) -> Self:
        """Keep the pictures where `keep` `(M,)` bool is true, with their captions.

        Examples:
            >>> listing = Listing(("a", "b"), no_labels(2), ("a1", "b1", "a2"), torch.tensor([0, 1, 0]))
            >>> listing.of(torch.tensor([True, False])).captions
            ('a1', 'a2')
        """
        return self._of(keep, keep[self.owner])

    def _of(self, keep: Tensor, captions: Tensor, **others: Any) -> Self:
        return replace(
            self,
            pictures=tuple(compress(self.pictures, keep.tolist())),
            label=self.label[keep],
            captions=tuple(compress(self.captions, captions.tolist())),
            owner=renumbered(keep)[self.owner[captions]],
            **others,
        )


def renumbered(keep: Tensor) -> Tensor:
    """Return the new number of each picture, if those where `keep` `(M,)` bool is true are kept."""
    return keep.cumsum(0) - 1


def no_labels(pictures: int) -> Tensor:
    """Return the labels of a data set without classes: every picture is of class 0."""
    return torch.zeros(pictures, dtype=torch.int64)
