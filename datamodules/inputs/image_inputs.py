"""Inputs of image encoders: the contract of picture files, and of features that were extracted from them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Literal, Self

from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked
from datamodules.reading.content import Stored
from datamodules.reading.picture_files import Orientation

IfFaulty = Literal["refuse", "skip"]


class ImageInput(Checked, ABC):
    """Turns the picture files that a data set lists into the input of image encoders."""

    missing: IfFaulty = "refuse"
    """`refuse` a data set of which pictures are missing, or `skip` these."""

    orientation: Orientation | None = None
    """How the picture files are to be seen; None for what the data set says."""

    def oriented(self, orientation: Orientation) -> Self:
        """Return the input with the orientation of a data set, unless it has one of its own."""
        chosen = copy(self)
        chosen.orientation = self.orientation or orientation
        return chosen

    @abstractmethod
    def description(self, root: Path) -> str:
        """Describe the input for the record, `root` being the folder of the data set."""

    @abstractmethod
    def usable(self, root: Path, pictures: Sequence[str]) -> Tensor:
        """Tell which of M picture files relative to `root` can be served, `(M,)` bool.

        Raises:
            UserError: If some cannot, and they are not to be left out.
        """

    @abstractmethod
    def content(self, root: Path, pictures: Sequence[str], training: bool) -> Tensor | Stored:
        """Return the input of encoders for M usable picture files relative to `root`, in training with augmentation.

        Raises:
            UserError: If something cannot be read.
        """

    def made_by(self, root: Path) -> dict[str, Any]:
        """Return what made the input of pictures, in plain values, which a checkpoint keeps; nothing by default."""
        del root
        return {}

    def compare(self, root: Path, made_by: Mapping[str, Any]) -> None:
        """Raise UserError if something else made the input that a model was trained on; see `made_by`."""
        del root, made_by

    def refuse_missing(self, there: Tensor, pictures: Sequence[str], place: Path, remedy: str) -> None:
        """Refuse pictures that are not `there`, `(M,)` bool, naming the first, unless they are to be left out."""
        if self.missing == "refuse" and not there.all():
            raise UserError(
                f"{int((~there).sum())} of {len(pictures)} pictures are missing in {place}, first "
                f"{pictures[int((~there).nonzero()[0])]}; {remedy}, or set data.image.missing to skip to leave them "
                f"out."
            )
