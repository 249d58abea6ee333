"""JPEGs as large as photographs of common data sets, of invented scenes."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from datamodules.drawn import scenes


def write_photograph(row: int, folder: Path) -> list[str]:
    """Paint a scene of 500 x 375 pixels into `<row>.jpg`, and describe it in five sentences."""
    rng = scenes.stream(0, "pixels", row)
    scene = scenes.invent(scenes.KINDS[row % len(scenes.KINDS)], rng)
    small = Image.fromarray(scenes.paint(scene, 64, rng).transpose(1, 2, 0))
    pixels = np.asarray(small.resize((500, 375)), dtype=np.int16) + rng.integers(-20, 20, (375, 500, 3))
    jpeg = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(jpeg, "JPEG", quality=90)
    (folder / f"{row}.jpg").write_bytes(jpeg.getvalue())
    return scenes.describe(scene, rng)
