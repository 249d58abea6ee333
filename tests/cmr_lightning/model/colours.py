"""A model that embeds pictures by their mean colour, and texts by the colours that they name."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from datamodules.reading.picture_files import Orientation

PURE = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (128, 128, 128)}


class Colours:
    """It notes how many items it has embedded."""

    source = ""
    method = "Colours"
    dim = 3
    checksum = "c0ffee"
    composed = False
    orientation: Orientation = "upright"

    def __init__(self, distance: str = "cos") -> None:
        self.distance = distance
        self.embedded = 0
        self.preprocessing = {"images": "mean colour", "texts": "names of colours"}

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        self.embedded += len(images)
        rows = [np.asarray(picture).reshape(-1, 3).mean(0) for picture in images[0 : len(images)]]
        return np.array(rows, dtype=np.float32)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.embedded += len(texts)
        named = [[PURE[word] for word in text.split() if word in PURE] for text in texts]
        return np.array([np.mean(of_text, axis=0) for of_text in named], dtype=np.float32)


def paint(path: Path, colour: tuple[int, int, int] | str, side: int = 16) -> Path:
    """Write a picture of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), PURE.get(colour, colour)).save(path)  # type: ignore[arg-type]
    return path
