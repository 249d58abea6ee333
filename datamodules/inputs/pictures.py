"""Picture files, decoded when they are needed."""

import hashlib
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from joblib import cpu_count
from PIL import Image
from torch import Tensor

from cmr_lightning.batch import Pixels
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import CountFromZero, PictureSide
from datamodules.inputs.image_inputs import IfFaulty, ImageInput
from datamodules.reading.content import Stored
from datamodules.reading.picture_files import Orientation, read_picture
from datamodules.reading.published_files import on_disk

_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

_DESCRIPTION = re.compile(
    r"pictures(?P<upright>, upright by EXIF)?, (?P<side>short side|both sides) (?P<resize>\d+) "
    r"\((?P<interpolation>bilinear|bicubic)\), centre crop (?P<crop>\d+)"
)


class Pictures(ImageInput):
    """Input of image encoders: the picture files themselves, decoded when they are needed.

    The short side is resized to `resize` with antialiasing, then the middle square of `crop` pixels is cut out; in
    training, `augment: crop-flip` cuts the square at a random place and mirrors every other picture. With `shape:
    squashed` both sides become `resize`, so that a tall picture loses nothing at its ends (the training code of CMPM
    does so with persons). Encoders normalise the uint8 pixels themselves.

    Args:
        crop: Side of the pictures that encoders see.
        resize: Length of the short side before the crop, or of both sides.
        interpolation: How pictures are resized.
        augment: What is drawn at random in training.
        missing: `refuse` a data set with missing pictures, or `skip` these.
        damaged: `refuse` to continue when a damaged picture is met, or decode all pictures once beforehand and `skip`
            the damaged ones.
        workers: Processes that decode, each a batch at a time; None for one per core of this process, 0 for threads of
            the training process, which is slow but easier to debug.
        shape: Whether a picture keeps its proportions, or is squashed into a square.
        orientation: Whether pictures are seen as they are `stored`, or `upright` as the camera noted in their EXIF
            data; None for what the data set says, which for a published one is `stored`, as in its protocol.

    Raises:
        UserError: If the crop is larger than the resized picture.
    """

    def __init__(
        self,
        crop: PictureSide = 224,
        resize: PictureSide = 256,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
        augment: Literal["none", "crop-flip"] = "none",
        missing: IfFaulty = "refuse",
        damaged: IfFaulty = "refuse",
        workers: CountFromZero | None = None,
        shape: Literal["kept", "squashed"] = "kept",
        orientation: Orientation | None = None,
    ) -> None:
        if crop > resize:
            raise UserError(
                f"data.image.crop is {crop} and data.image.resize {resize}; the crop must lie inside the resized "
                f"picture."
            )
        self.crop = crop
        self.resize = resize
        self.shape = shape
        self.interpolation = interpolation
        self.augment = augment
        self.missing = missing
        self.damaged = damaged
        self.workers = workers
        self.orientation = orientation

    def description(self, root: Path) -> str:
        """Describe orientation, size, crop and augmentation."""
        upright = ", upright by EXIF" if self.orientation == "upright" else ""
        drawn = "" if self.augment == "none" else f", {self.augment} in training"
        side = "short side" if self.shape == "kept" else "both sides"
        return f"pictures{upright}, {side} {self.resize} ({self.interpolation}), centre crop {self.crop}{drawn}"

    @classmethod
    def described(cls, words: str) -> "Pictures | None":
        """Return the settings that `description` puts so into words, None where it puts none so.

        Examples:
            >>> Pictures.described("pictures, short side 256 (bicubic), centre crop 224").crop
            224
        """
        found = _DESCRIPTION.fullmatch(words)
        if found is None:
            return None
        return cls(
            crop=int(found["crop"]),
            resize=int(found["resize"]),
            interpolation=found["interpolation"],  # type: ignore[arg-type]  # one of the two
            shape="kept" if found["side"] == "short side" else "squashed",
            orientation="upright" if found["upright"] else "stored",
        )

    @property
    def processes(self) -> int:
        """Processes that decode: `workers`, or a share of the cores where several processes train on this machine."""
        if self.workers is not None:
            return self.workers
        return max(1, cpu_count() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))

    def usable(self, root: Path, pictures: Sequence[str]) -> Tensor:
        """Tell which files are there, and can be decoded if damaged ones are to be left out."""
        if not root.is_dir():
            raise UserError(f"The folder {root}, given as data.root, does not exist.")
        paths = [on_disk(root, name) for name in pictures]
        there = torch.tensor([path.is_file() for path in paths], dtype=torch.bool)
        self.refuse_missing(there, pictures, root, "complete the folder")
        if self.damaged == "skip":
            with ThreadPoolExecutor(cpu_count()) as pool:
                there = torch.tensor(list(pool.map(self._is_sound, paths)), dtype=torch.bool)
        return there

    def content(self, root: Path, pictures: Sequence[str], training: bool) -> Stored:
        """Return the files, to be decoded by row."""
        return PictureFiles(self, [on_disk(root, name) for name in pictures], drawn=training and self.augment != "none")

    def of_pictures(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Return the middles of resized pictures `(N, 3, crop, crop)`, uint8, with the channels last in memory."""
        middles = [np.asarray(square(resize(picture, self), None, self.crop)) for picture in pictures]
        return torch.from_numpy(np.stack(middles)).permute(0, 3, 1, 2)

    def _is_sound(self, path: Path) -> bool:
        try:
            read_picture(path, self.orientation or "stored")
        except UserError:  # or the file is missing
            return False
        return True


class PictureFiles(Stored):
    """Pictures of one part, decoded as they are asked for."""

    def __init__(self, settings: Pictures, paths: Sequence[Path], drawn: bool) -> None:
        self.settings = settings
        self.paths = paths
        self.drawn = drawn

    @property
    def processes(self) -> int:
        """Processes that decode; see `Pictures.processes`."""
        return self.settings.processes

    @property
    def form(self) -> Pixels:
        """The form of square pictures."""
        return Pixels(self.settings.crop)

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Decode pictures `(N, 3, crop, crop)`, uint8, with the channels last in memory."""
        places: list[list[float] | None] = [None] * len(index)
        if generator is not None and self.drawn:
            places = torch.rand(len(index), 3, generator=generator).tolist()
        pictures = np.empty((len(index), self.settings.crop, self.settings.crop, 3), dtype=np.uint8)
        for picture, row, place in zip(pictures, index.tolist(), places, strict=True):
            resized = load_resized(self.paths[row], self.settings)
            picture[:] = np.asarray(square(resized, place, self.settings.crop))
        return torch.from_numpy(pictures).permute(0, 3, 1, 2)

    def fingerprint(self) -> str:
        """Hash names and sizes of the files: reading every pixel would take longer than `test`."""
        digest = hashlib.sha256()
        for path in self.paths:
            name = unicodedata.normalize("NFC", path.name)  # whichever form this disk has
            digest.update(f"{name} {path.stat().st_size}\n".encode())
        return digest.hexdigest()


def load_resized(path: Path, settings: Pictures) -> Image.Image:
    """Decode a picture to RGB and resize its short side, or both, to `settings.resize`; see `read_picture`."""
    return resize(read_picture(path, settings.orientation or "stored"), settings)


def resize(picture: Image.Image, settings: Pictures) -> Image.Image:
    """Resize the short side of a picture, or both, to `settings.resize`."""
    scale = settings.resize / min(picture.size)
    width, height = (max(settings.resize, round(side * scale)) for side in picture.size)
    if settings.shape == "squashed":
        width = height = settings.resize
    return picture.resize((width, height), _RESAMPLING[settings.interpolation])  # a copy where the size is the same


def square(picture: Image.Image, place: Sequence[float] | None, side: int) -> Image.Image:
    """Cut a square of `side` pixels out of a picture.

    The `place` is where to cut, from the top and from the left, each 0 to 1, and whether to mirror: above one half;
    None stands for the middle, not mirrored.
    """
    from_top, from_left, mirrored = (0.5, 0.5, 0.0) if place is None else place
    top, left = _offset(picture.height - side, from_top), _offset(picture.width - side, from_left)
    cut = picture.crop((left, top, left + side, top + side))
    return cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored > 0.5 else cut


def _offset(margin: int, place: float) -> int:
    """Choose one of `margin + 1` offsets, each for an equal share of the places from 0 to 1, the middle one for 0.5."""
    return max(0, math.ceil((margin + 1) * place) - 1)
