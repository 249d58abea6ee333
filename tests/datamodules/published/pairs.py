"""Somebody's own pictures with texts: a table in CSV and the pictures that it names."""

import csv
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.pairs import Pairs
from tests.datamodules.published.invention import SMALL, Expected, colour, sentences, write_pixels

load = partial(Pairs, table="pairs.csv", image=SMALL)
TINY = {"batch_size": 8}
SPLITS = [
    Expected({}, "drawn with seed 0, val 0.1, test 0.1", "b4820c8499d0c5ac", (44, 8, 8)),
    Expected({"split_seed": 1}, "drawn with seed 1, val 0.1, test 0.1", "a05235b136e48982", (44, 8, 8)),
]
LABELS = ("lamp", "mug", "shoe", "tent")
PICTURES = 15
"""Pictures of each label; each has two texts."""


def write(root: Path) -> None:
    """Write `pairs.csv` with the columns image, text and label, as a spreadsheet of Windows would, and the pictures."""
    rng = np.random.default_rng(0)
    rows = []
    for number in range(PICTURES * len(LABELS)):
        label = number % len(LABELS)
        path = root / "photos" / LABELS[label] / f"{number:03d}.jpg"
        write_pixels(path, np.full((*rng.integers(32, 65, 2), 3), colour(label)), rng)
        name = "\\".join(path.relative_to(root).parts)
        rows += [(name, f"Photo {number}, {text}", LABELS[label]) for text in sentences(LABELS[label], 2, rng)]
    with (root / "pairs.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([("image", "text", "label"), *rows])
