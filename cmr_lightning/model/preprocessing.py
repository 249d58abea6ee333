"""From pictures and texts as people have them to the input of encoders, as it was in the training."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from cmr_lightning.batch import Features, Input, Text
from cmr_lightning.errors import UserError
from datamodules.inputs import Pictures, TextInput
from datamodules.reading.content import size, take
from datamodules.reading.listing import Listing, no_labels
from datamodules.reading.picture_files import Orientation, in_rgb, read_picture

Picture = str | Path | Image.Image | NDArray[np.uint8]
"""A picture file, an opened picture, or an array `(H, W, 3)`, `(H, W, 4)` with transparency or `(H, W)` of greys."""

Item = TypeVar("Item")
Whole = TypeVar("Whole", bound=Text)


class Reader(ABC, Generic[Item, Whole]):
    """Makes the input of an encoder from items as people have them, in two steps; the first needs no device."""

    @property
    @abstractmethod
    def description(self) -> str:
        """What it does, in words."""

    @property
    def orientation(self) -> Orientation:
        """How pictures are seen."""
        return "stored"

    @abstractmethod
    def read(self, items: Sequence[Item]) -> Whole:
        """Read a batch; a thread does it while the model embeds the batch before.

        Raises:
            UserError: If an item cannot be read.
        """

    def encode(self, batch: Whole) -> Text:
        """Turn a batch, which is on the device, into the input of the encoder; by default it is that."""
        return batch


class PictureReader(Reader[Picture, Tensor]):
    """Pictures for an encoder of pixels: resized and cut as in the training."""

    def __init__(self, settings: Pictures) -> None:
        self.settings = settings

    @property
    def description(self) -> str:
        """Size, crop and orientation."""
        return self.settings.description(Path())

    @property
    def orientation(self) -> Orientation:
        """As in the training."""
        return self.settings.orientation or "stored"

    def read(self, items: Iterable[Picture]) -> Tensor:
        """Return pictures `(N, 3, crop, crop)`, uint8; each is open only until it is resized."""
        return self.settings.of_pictures(open_picture(item, self.orientation) for item in items)


class TextReader(Reader[str, Text]):
    """Texts for an encoder of words or of their weights: with the words of the training."""

    def __init__(self, settings: TextInput) -> None:
        self.settings = settings
        self._lock = Lock()  # no tokenizer may work in two threads at once

    @property
    def description(self) -> str:
        """What becomes of words."""
        return self.settings.description

    def read(self, items: Sequence[str]) -> Text:
        """Return tokens `(N, L)`, cut at the length of the longest training text, or word weights `(N, size)`."""
        with self._lock:
            warn_of_unknown_words(self.settings, items)
            content = self.settings.content(listed(items))
        return take(content, torch.arange(size(content)))


class NoReader(Reader[Any, Text]):
    """In place of a reader where the data set published features alone.

    Args:
        what: The items, `pictures` or `texts`.
        dataset: The data set.
        form: The form of the features, or what else the encoder was trained on.
    """

    def __init__(self, what: str, dataset: str, form: Input) -> None:
        self.what = what
        self.dataset = dataset
        self.form = form

    @property
    def description(self) -> str:
        """What the encoder was trained on."""
        return f"{self.form} of {self.dataset}"

    def read(self, items: Sequence[Any]) -> Text:
        """Raise UserError."""
        if isinstance(self.form, Features):
            raise UserError(
                f"The model was trained on features of {self.what} that came with {self.dataset}, and nothing here "
                f"computes them; give an array of such features, (N, {self.form.size}) of floating-point numbers."
            )
        raise UserError(
            f"{self.dataset} does not say how it makes {self.form} of {self.what}; define `inputs` in the class."
        )


def open_picture(picture: Picture, orientation: Orientation) -> Image.Image:
    """Return a picture in RGB, a file or an opened one as the camera noted in its EXIF data if `upright`.

    Raises:
        UserError: If it is none, or damaged.
    """
    if isinstance(picture, str | Path):
        return read_picture(Path(picture), orientation, otherwise="")
    if not isinstance(picture, Image.Image | np.ndarray):
        raise UserError(f"A picture is a path, a PIL image or an array of uint8, and not a {type(picture).__name__}.")
    try:
        opened = picture if isinstance(picture, Image.Image) else _of_array(picture)
        return in_rgb(ImageOps.exif_transpose(opened) if orientation == "upright" else opened)
    except (OSError, ValueError) as error:
        raise UserError(f"The picture {picture!r:.100} cannot be used ({error}).") from error


def _of_array(array: NDArray) -> Image.Image:
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise UserError(
            f"An array of a picture is uint8 of shape (H, W, 3), (H, W, 4) or (H, W), and not {array.dtype} of shape "
            f"{array.shape}."
        )
    return Image.fromarray(array)


def listed(texts: Sequence[str]) -> Listing:
    """List texts as those of a data set, all of one picture that is not there."""
    return Listing(("",), no_labels(1), tuple(texts), torch.zeros(len(texts), dtype=torch.int64))


def warn_of_unknown_words(settings: TextInput, texts: Sequence[str]) -> None:
    """Warn of texts without a word that the model knows, such as those in another script: they all look alike to it."""
    if not settings.unknown_share(listed(texts)):
        return
    strange = [text for text in texts if settings.unknown_share(listed([text])) == 1]
    if strange:
        warnings.warn(
            f"The model knows no word of {len(strange)} text{'s' * (len(strange) > 1)}, such as {strange[0][:50]!r}, "
            f"whose embedding says nothing of it.",
            stacklevel=2,
        )
