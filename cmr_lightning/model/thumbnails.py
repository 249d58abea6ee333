"""Small pictures to look at, made while the large ones are open for the encoder."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cmr_lightning.errors import UserError
from cmr_lightning.files.whole_file import unfinished
from cmr_lightning.model.preprocessing import open_picture
from datamodules.reading.picture_files import Orientation

_SIDE = 240
"""Pixels of the long side: sharp on a page with 120 to 200 for each picture, in about 8 kB."""

_BLANK = Image.new("RGB", (64, 64))


class OpenedPictures:
    """A list of pictures that are opened one by one as they are read, each once: for the encoder, and to be shrunk.

    In place of a picture that cannot be read a blank one is given, so that the others can be embedded.

    Args:
        pictures: Files, or arrays `(H, W, 3)` uint8.
        orientation: How the encoder sees them; small pictures are upright.

    Attributes:
        thumbnails: JPEGs, by position in the list.
        damaged: Why some cannot be read, by position in the list.
    """

    def __init__(self, pictures: Sequence[Path | NDArray[np.uint8]], orientation: Orientation) -> None:
        self._pictures = pictures
        self._orientation = orientation
        self.thumbnails: dict[int, bytes] = {}
        self.damaged: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, rows: slice) -> Iterator[Image.Image]:
        for row in range(*rows.indices(len(self))):
            try:
                picture = open_picture(self._pictures[row], self._orientation)
            except UserError as error:
                self.damaged[row] = str(error)
                yield _BLANK
            else:
                self.thumbnails[row] = thumbnail(picture)
                yield picture


def thumbnail(picture: Image.Image) -> bytes:
    """Shrink a picture to a JPEG, upright.

    Examples:
        >>> Image.open(io.BytesIO(thumbnail(Image.new("RGB", (480, 240))))).size
        (240, 120)
    """
    scale = min(1, _SIDE / max(picture.size))
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    small = picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2)
    small.info = picture.info
    file = io.BytesIO()
    ImageOps.exif_transpose(small).save(file, "JPEG", quality=80, exif=b"", icc_profile=None)
    return file.getvalue()


def write_thumbnail(file: Path, jpeg: bytes) -> None:
    """Write a small picture, whole; it is not waited for until it is on the disk, as it can be made again."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished(file).write_bytes(jpeg)
    unfinished(file).replace(file)
