"""Reading picture files as people have them: their formats, depth of colour, transparency and orientation."""

from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION, TiffImageFile

from cmr_lightning.errors import UserError

Orientation = Literal["stored", "upright"]
"""Pictures as their files store them, or turned as the camera noted in their EXIF data."""

_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF")
"""What pictures may be. Of the others that Pillow reads, some are handed to programs such as Ghostscript."""

_DAMAGE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""The exceptions that Pillow raises on damaged pictures and other files."""


_OTHERWISE = ", or set data.image.damaged to skip to leave damaged pictures out"


def read_picture(path: Path, orientation: Orientation, otherwise: str = _OTHERWISE) -> Image.Image:
    """Decode a picture file to RGB, as `in_rgb` does; of several frames the first is taken.

    Args:
        path: The file.
        orientation: How it is to be seen.
        otherwise: What else to do about a damaged file than to get it again, which ends the message.

    Raises:
        UserError: If the file is no picture or damaged, or holds numbers whose range is not known.
    """
    try:
        with Image.open(path, formats=_formats()) as file:
            if orientation == "upright":
                ImageOps.exif_transpose(file, in_place=True)
            file.load()
            return in_rgb(file)
    except _DAMAGE as error:
        raise UserError(
            f"{path} cannot be read as a picture ({error}); get it again, as {', '.join(_FORMATS[:-1])} or "
            f"{_FORMATS[-1]}{otherwise}."
        ) from error


@cache
def _formats() -> tuple[str, ...]:
    """Return the formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def picture_suffixes() -> frozenset[str]:
    """Return the endings of names of picture files, in small letters with their dots."""
    formats = _formats()  # which makes Pillow know all of its endings
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in formats)


def in_rgb(picture: Image.Image) -> Image.Image:
    """Convert a picture to RGB: greys of 16 bits are scaled to 8, and transparent places become white.

    Raises:
        ValueError: If it holds numbers whose range is not known.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        return _scaled_to_8_bits(picture).convert("RGB")
    if picture.mode in ("I", "F"):
        kind = "whole numbers of 32 bits" if picture.mode == "I" else "floating-point numbers"
        raise ValueError(f"it holds {kind}, and which of them is white is not known; save it with 8 or 16 bits")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _scaled_to_8_bits(picture: Image.Image) -> Image.Image:
    """Scale greys of up to 16 bits by the whole range of their bits."""
    values = np.asarray(picture)
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    grey = (values >> (tags.get(BITSPERSAMPLE, (16,))[0] - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC_INTERPRETATION) == 0:  # white is zero, as in many radiographs
        grey = 255 - grey
    grey[values == picture.info.get("transparency", -1)] = 255
    return Image.fromarray(grey)
