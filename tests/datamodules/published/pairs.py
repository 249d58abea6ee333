"""Somebody's own pictures with texts: a table in CSV and the pictures that it names."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.pairs import Pairs
from tests.datamodules.published.invention import SMALL, Expected, sentences

TINY = {"batch_size": 8}
SPLITS = [
    Expected({}, "drawn with seed 0, val 0.1, test 0.1", "b4820c8499d0c5ac", (44, 8, 8)),
    Expected({"split_seed": 1}, "drawn with seed 1, val 0.1, test 0.1", "a05235b136e48982", (44, 8, 8)),
]
LABELS = ("lamp", "mug", "shoe", "tent")
PICTURES = 15
"""Pictures of each label; each has two texts."""


def load(root: Path, table: str = "pairs.csv", **settings: Any) -> Pairs:
    """Build the data set as tests read it."""
    return Pairs(str(root), table, **{"image": SMALL, **settings})


def write(root: Path) -> None:
    """Write `pairs.csv` with the columns image, text and label, as a spreadsheet of Windows would, and the pictures."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(PICTURES * len(LABELS)):
        label = number % len(LABELS)
        path = root / "photos" / LABELS[label] / f"{number:03d}.jpg"
        _write_picture(path, label, rng)
        name = "\\".join(path.relative_to(root).parts)
        rows += [(name, f"Photo {number}, {text}", LABELS[label]) for text in sentences(LABELS[label], 2, rng)]
    with (root / "pairs.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("image", "text", "label"), *rows])


def _write_picture(path: Path, label: int, rng: np.random.Generator) -> None:
    """Noise in the colour of the label, of one of several sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = rng.integers(32, 65, 2)
    colour = np.array([(label * 37) % 256, (label * 91) % 256, (label * 151) % 256])
    noise = rng.integers(-40, 40, (height, width, 3))
    Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path)
