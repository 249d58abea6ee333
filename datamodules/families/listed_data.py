"""Data sets that are lists of picture files with captions, whatever the encoders take as input."""

from abc import abstractmethod
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from cmr_lightning.batch import Words
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Count, Name
from datamodules.base import CrossModalData, PartName, Split, split_checksum
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import TextInput, WordTokens
from datamodules.reading.listing import Listing
from datamodules.reading.loaders import EpochOf, Part
from datamodules.reading.published_files import read_picture

PARTS: tuple[PartName, ...] = ("train", "val", "test")


class ListedData(CrossModalData):
    """A data set that a subclass lists; the config chooses the input of the encoders.

    A subclass lists the pictures and captions of a part in `list_part` and names its `classes`, `protocols` and
    `split_name`. The image input turns the listed files into pictures or features, the text input turns the captions
    into tokens or vectors, with the words of the training captions only.

    Args:
        root: Folder of the published files.
        image: Input of the image encoders; by default the pictures.
        text: Input of the text encoders; by default all words.
        batch_size: Training pairs in a batch.
        eval_batch_size: Items encoded at once in evaluation.
        epoch_of: What a training epoch goes through once: every text, or every image with one of its texts.
    """

    def __init__(
        self,
        root: Name,
        image: ImageInput | None = None,
        text: TextInput | None = None,
        batch_size: Count = 64,
        eval_batch_size: Count = 256,
        epoch_of: EpochOf = "texts",
    ) -> None:
        super().__init__(batch_size, eval_batch_size, epoch_of)
        self.root = Path(root).expanduser()
        self.image = image or Pictures()
        self.text = text or WordTokens()
        self.text.locate(self.root)
        self._listings: dict[PartName, Listing] = {}
        self._left_out: dict[PartName, int] = {}

    @abstractmethod
    def list_part(self, part: PartName) -> Listing:
        """List one part from the published files, raising what `read` does."""

    @property
    @abstractmethod
    def split_name(self) -> str:
        """The usual name of the split."""

    @property
    def split(self) -> Split:
        """The split, and how many of its pictures were left out because they are not there; reads all lists."""
        listings = {part: self.listing(part) for part in PARTS}
        ids: dict[str, list[str]] = {part: list(map(self.image_name, listings[part].pictures)) for part in PARTS}
        name = self.split_name
        if left_out := sum(self._left_out.values()):
            name += f", {left_out} of {left_out + sum(map(len, ids.values()))} pictures left out"
        return Split(name, split_checksum(ids))

    def image_name(self, picture: str) -> str:
        """Name a picture in splits and reports: by its path, unless that depends on the layout on disk."""
        return picture

    @property
    def features(self) -> str:
        """The input of the encoders in words."""
        return f"images: {self.image.description(self.root)}; texts: {self.text.description}"

    def words(self, length: int) -> Words:
        """Describe texts of at most `length` tokens."""
        return self._learned_text.words(length)

    def listing(self, part: PartName) -> Listing:
        """List one part without the pictures that are left out."""
        if part not in self._listings:
            listing = self.list_part(part)
            self.check_listing(listing, f"{type(self).__name__}, {part}")
            usable = self.image.usable(self.root, listing.pictures)
            self._left_out[part] = int((~usable).sum())
            self._listings[part] = listing if usable.all() else listing.of(usable)
            if not usable.any():
                raise UserError(f"{type(self).__name__}: none of the {len(usable)} {part} pictures is there.")
        return self._listings[part]

    def check_listing(self, listing: Listing, what: str) -> None:
        """Refuse captions without words, and pictures without captions, naming the first."""
        if self.text.reads_captions:
            check_captions(listing, what)
        silent = torch.bincount(listing.owner, minlength=len(listing.pictures)) == 0
        if silent.any():
            first = listing.pictures[int(silent.nonzero()[0])]
            raise UserError(
                f"{what}: {int(silent.sum())} pictures have no caption, first {first}; a picture needs at least one."
            )

    @property
    def lesson(self) -> Listing:
        """The captions whose words are learned."""
        return self.listing("train")

    def read(self, part: PartName) -> Part:
        """Read one part as encoders take it."""
        listing = self.listing(part)
        return Part(
            image=self.image.content(self.root, listing.pictures, training=part == "train"),
            text=self._learned_text.content(listing),
            label=listing.label,
            owner=listing.owner,
            image_names=tuple(self.image_name(picture) for picture in listing.pictures),
            captions=listing.captions,
        )

    def picture(self, part: PartName, image: int) -> np.ndarray | None:
        """Decode the picture file to uint8 `(H, W, 3)`; None where it is not there."""
        path = self.root / self.listing(part).pictures[image]
        return read_picture(path) if path.is_file() else None

    @cached_property
    def _learned_text(self) -> TextInput:
        self.text.learn(self.lesson)
        return self.text


def check_captions(listing: Listing, what: str) -> None:
    """Refuse captions without words, naming the picture of the first."""
    empty = [row for row, caption in enumerate(listing.captions) if not caption.strip()]
    if empty:
        picture = listing.pictures[int(listing.owner[empty[0]])]
        raise UserError(f"{what}: {len(empty)} captions are empty, first one of {picture}; remove or write them.")
