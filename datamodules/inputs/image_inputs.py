"""Inputs of image encoders: the contract of picture files, and of features that were extracted from them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked
from datamodules.reading.content import Stored

IfFaulty = Literal["refuse", "skip"]


class ImageInput(Checked, ABC):
    """Turns the picture files that a data set lists into the input of image encoders."""

    missing: IfFaulty = "refuse"
    """`refuse` a data set of which pictures are missing, or `skip` these."""

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

    def refuse_missing(self, there: Tensor, pictures: Sequence[str], place: Path, remedy: str) -> None:
        """Refuse pictures that are not `there`, `(M,)` bool, naming the first, unless they are to be left out."""
        if self.missing == "refuse" and not there.all():
            raise UserError(
                f"{int((~there).sum())} of {len(pictures)} pictures are missing in {place}, first "
                f"{pictures[int((~there).nonzero()[0])]}; {remedy}, or set data.image.missing to skip to leave them "
                f"out."
            )
