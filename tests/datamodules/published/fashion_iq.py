"""FashionIQ in miniature: captions, splits and invented garments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.fashion_iq import CATEGORIES, FashionIQ
from tests.datamodules.published.invention import SMALL, Expected

TINY = {"batch_size": 8, "eval_batch_size": 64}
SPLITS = [
    Expected(
        {},
        "published validation as test, a tenth of the training targets held out",
        "b352e54ff9e39860",
        (158, 22, 48),
    )
]
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30), "grey": (120, 120, 120)}
PICTURES = {"train": 60, "val": 16}
"""Pictures of each category and part; half as many are targets."""
SHARED = "B00SHARED0"
"""A garment that is both a shirt and a toptee of the validation part."""


def load(root: Path, **settings: Any) -> FashionIQ:
    """Build the data set as tests read it."""
    return FashionIQ(str(root), **{"image": SMALL, **settings})


def write(root: Path) -> None:
    """Write captions, splits and pictures; the test part without targets, as published."""
    rng = np.random.default_rng(0)
    for folder in ("captions", "image_splits", "images"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, category in enumerate(CATEGORIES):
        for part, count in PICTURES.items():
            names = [f"B00{number}{part[0].upper()}{row:05d}" for row in range(count)]
            if part == "val" and category != "dress":
                names[3] = SHARED
            colours = [list(COLOURS)[row % len(COLOURS)] for row in range(count)]
            for row, name in enumerate(names):
                ending = "png" if row % 5 == 4 else "jpg"
                _write_picture(root / f"images/{name}.{ending}", colours[row], rng)
            triplets = [
                {
                    "target": names[row],
                    "candidate": names[(row + 1) % count],
                    "captions": [f" is {colours[row]} and brighter", "" if row == 2 else f"has a {colours[row]} print"],
                }
                for row in range(0, count, 2)
            ]
            _dump(root / f"captions/cap.{category}.{part}.json", triplets)
            _dump(root / f"image_splits/split.{category}.{part}.json", names)
        untold = [{"candidate": f"B00{number}X00000", "captions": ["is longer", "is red"]}]
        _dump(root / f"captions/cap.{category}.test.json", untold)
        _dump(root / f"image_splits/split.{category}.test.json", [f"B00{number}X00000"])


def _dump(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=4))


def _write_picture(path: Path, colour: str, rng: np.random.Generator) -> None:
    pixels = np.full((40, 24, 3), COLOURS[colour], dtype=float) + rng.integers(-20, 21, (40, 24, 3))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
