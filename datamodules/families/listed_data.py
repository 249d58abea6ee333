"""Data sets that are lists of picture files with captions, whatever the encoders take as input."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from cmr_lightning.batch import Words
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Name
from datamodules.base import CrossModalData, Inputs, PartName, Split, split_checksum
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import TextInput, WordTokens
from datamodules.reading.listing import Listing
from datamodules.reading.loaders import Part
from datamodules.reading.picture_files import Orientation, read_picture
from datamodules.reading.published_files import on_disk

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
        **kwargs: Options of `CrossModalData`.
    """

    orientation: ClassVar[Orientation] = "stored"
    """How its pictures are seen unless `image` says otherwise."""

    def __init__(
        self, root: Name, image: ImageInput | None = None, text: TextInput | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self.image = (image or Pictures()).oriented(self.orientation)
        self.text = text or WordTokens()
        self.text.locate(self.root)
        self._listings: dict[PartName, Listing] = {}
        self._left_out: dict[PartName, int] = {}
        self._has_learned = False

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

    def learned(self) -> dict[str, Any]:
        """Return what the text input has learned, and what made the input of the pictures."""
        return {"image": self.image.made_by(self.root), "text": self._learned_text.learned()}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Take what was learned in an earlier training.

        Raises:
            UserError: If the inputs of encoders were made by something else then.
        """
        self.image.compare(self.root, learned["image"])
        self.text.restore(learned["text"])
        self._has_learned = True

    def inputs(self, learned: Mapping[str, Any]) -> Inputs:
        """Return the inputs that the config chooses, with what was learned."""
        self.text.revive(learned["text"])
        return Inputs(self.image, self.text)

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
            if not usable.any():
                raise UserError(f"{type(self).__name__}: none of the {len(usable)} {part} pictures is there.")
            self._listings[part] = listing if usable.all() else listing.of(usable)
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
        if part == "train":
            self._learned_text.check(listing)
        else:
            self._count_unknown_words(part, listing)
        return Part(
            image=self.image.content(self.root, listing.pictures, training=part == "train"),
            text=self._learned_text.content(listing),
            label=listing.label,
            owner=listing.owner,
            image_names=tuple(self.image_name(picture) for picture in listing.pictures),
            captions=listing.captions,
        )

    def _count_unknown_words(self, part: PartName, listing: Listing) -> None:
        """Keep and print the share of unknown words, or refuse a part that is mostly unknown."""
        text = self._learned_text
        share = text.unknown_share(listing)
        if share is None:
            return
        self.unknown_words[part] = share
        if share > text.most_unknown:
            raise UserError(
                f"{type(self).__name__}: {share:.0%} of the words of the {part} texts are unknown, as the training "
                f"texts lack them or have them too rarely; {text.remedy}."
            )
        if self._process[0] == 0:
            print(f"Unknown words in the {part} texts: {share:.1%}", flush=True)

    def picture(self, part: PartName, image: int) -> np.ndarray | None:
        """Decode the picture file to uint8 `(H, W, 3)`; None where it is not there."""
        path = on_disk(self.root, self.listing(part).pictures[image])
        orientation = self.image.orientation or self.orientation
        return np.asarray(read_picture(path, orientation)) if path.is_file() else None

    @property
    def _learned_text(self) -> TextInput:
        if not self._has_learned:
            self.text.learn(self.lesson)
            self._has_learned = True
        return self.text


def check_captions(listing: Listing, what: str) -> None:
    """Refuse captions without words, naming the picture of the first."""
    empty = [row for row, caption in enumerate(listing.captions) if not caption.strip()]
    if empty:
        picture = listing.pictures[int(listing.owner[empty[0]])]
        raise UserError(f"{what}: {len(empty)} captions are empty, first one of {picture}; remove or write them.")
