"""Flat drawings of the scenes of CSS3D, for queries that start from a drawing and ask for a rendering (TIRG)."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from cmr_lightning.batch import Pixels
from datamodules.reading.content import Stored

SIDE = 64  # pixels of a drawing, before it is brought to the size of the renderings
COLOURS = {
    "gray": (87, 87, 87),
    "red": (244, 35, 35),
    "blue": (42, 75, 215),
    "green": (29, 205, 20),
    "brown": (129, 74, 25),
    "purple": (129, 38, 192),
    "cyan": (41, 208, 208),
    "yellow": (255, 238, 51),
}
HALF = {"small": 4, "large": 8}
"""Half the height of a thing in pixels."""

Scene = Sequence[Mapping[str, Any]]
"""Things with `size`, `color`, `shape` (rectangle, circle or triangle) and `pos` (row and column in 0..1)."""


class FlatScenes(Stored):
    """Drawings of scenes, made when they are asked for, as pictures of `size` pixels a side."""

    def __init__(self, scenes: Sequence[Scene], size: int) -> None:
        self.scenes = scenes
        self.size = size

    @property
    def form(self) -> Pixels:
        """The form of square pictures."""
        return Pixels(self.size)

    def __len__(self) -> int:
        return len(self.scenes)

    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw pictures `(N, 3, size, size)`, uint8; nothing is random."""
        drawings = np.stack([draw(self.scenes[row]) for row in index.tolist()])
        pictures = torch.from_numpy(drawings).permute(0, 3, 1, 2)
        return interpolate(pictures, (self.size, self.size), mode="nearest-exact").contiguous()

    def fingerprint(self) -> str:
        """Hash the scenes and the size."""
        return hashlib.sha256(json.dumps([self.scenes, self.size]).encode()).hexdigest()


def draw(scene: Scene) -> np.ndarray:
    """Draw a scene on white, uint8 `(64, 64, 3)`; later things cover earlier ones."""
    picture = np.full((SIDE, SIDE, 3), 255, dtype=np.uint8)
    for thing in scene:
        half = HALF[thing["size"]]
        y, x = (float(place) * SIDE for place in thing["pos"])
        for row in range(max(0, int(y - half)), min(SIDE, int(y + half) + (thing["shape"] == "circle"))):
            reach = _reach(thing["shape"], row - y, half)
            picture[row, max(0, int(x - reach)) : max(0, int(x + reach))] = COLOURS[thing["color"]]
    return picture


def _reach(shape: str, down: float, half: int) -> float:
    """Measure how far a thing reaches to either side, `down` pixels below its middle."""
    if shape == "rectangle":
        return half
    return half - abs(down) if shape == "circle" else (half + down) / 2  # TIRG's code draws a diamond for a circle
