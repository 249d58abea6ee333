"""FashionIQ in miniature: captions, splits and invented garments."""

import json
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.fashion_iq import CATEGORIES, FashionIQ
from tests.datamodules.published.invention import SMALL, Expected, write_pixels

load = partial(FashionIQ, image=SMALL)
TINY = {"batch_size": 8, "eval_batch_size": 64}
SPLITS = [
    Expected(
        {}, "published validation as test, a tenth of the training targets held out", "b352e54ff9e39860", (158, 22, 48)
    )
]
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30), "grey": (120, 120, 120)}
PICTURES = {"train": 60, "val": 16}
"""Pictures of each category and part; half as many are targets."""
SHARED = "B00SHARED0"
"""A garment that is both a shirt and a toptee of the validation part."""


def write(root: Path) -> None:
    """Write captions, splits and pictures; the test part without targets, as published."""
    rng = np.random.default_rng(0)
    for folder in ("captions", "image_splits"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number, category in enumerate(CATEGORIES):
        for part, count in PICTURES.items():
            names = [f"B00{number}{part[0].upper()}{row:05d}" for row in range(count)]
            if part == "val" and category != "dress":
                names[3] = SHARED
            colours = [list(COLOURS)[row % len(COLOURS)] for row in range(count)]
            for row, name in enumerate(names):
                ending = "png" if row % 5 == 4 else "jpg"
                write_pixels(root / f"images/{name}.{ending}", np.full((40, 24, 3), COLOURS[colours[row]]), rng)
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
