"""What a part of a data set is before encoders: its picture files and their captions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Listing:
    """One part of a data set as its files say it, before anything is made of pictures and captions.

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

    def of(self, keep: Tensor) -> Listing:
        """The pictures where `keep` `(M,)` bool is true, with their captions."""
        numbers = keep.cumsum(0) - 1
        kept = keep[self.owner]
        return Listing(
            pictures=tuple(name for name, stays in zip(self.pictures, keep.tolist(), strict=True) if stays),
            label=self.label[keep],
            captions=tuple(caption for caption, stays in zip(self.captions, kept.tolist(), strict=True) if stays),
            owner=numbers[self.owner[kept]],
        )


def no_labels(pictures: int) -> Tensor:
    """Labels of a data set without classes: every picture is of class 0."""
    return torch.zeros(pictures, dtype=torch.int64)
