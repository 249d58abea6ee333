"""MIT-States in miniature: folders of nouns in their states, with those that show none."""

from functools import partial
from pathlib import Path

import numpy as np

from datamodules.mit_states import MITStates
from tests.datamodules.published.invention import SMALL, Expected, write_pixels

load = partial(MITStates, image=SMALL)
TINY = {"batch_size": 8, "eval_batch_size": 64}
SPLITS = [Expected({}, "49 test nouns of TIRG, a tenth of the other nouns held out", "e431f5c97adc1427", (64, 40, 40))]
STATES = {
    "train": {"apple": ("ripe", "sliced", "old"), "door": ("old", "painted"), "cake": ("sliced", "burnt", "frosted")},
    "val": {"car": ("old", "painted", "burnt"), "tie": ("old", "silk")},
    "test": {"tomato": ("ripe", "sliced"), "window": ("old", "broken", "painted")},
}
"""Nouns of each part with their adjectives; `broken` is in no training picture."""
PICTURES = 8
"""Pictures of each noun in each state."""
_TINT = ["ripe", "sliced", "old", "painted", "burnt", "frosted", "silk", "broken"]


def write(root: Path) -> None:
    """Write the pictures, also of nouns in no state, which nobody reads."""
    rng = np.random.default_rng(0)
    number = 0
    for nouns in STATES.values():
        for noun, adjectives in nouns.items():
            for adjective in (*adjectives, "adj"):
                for _ in range(PICTURES):
                    number += 1
                    _write_picture(root / f"images/{adjective} {noun}/{number:06d}.jpg", adjective, noun, rng)
    _write_picture(root / "images/apple/1.jpg", "adj", "apple", rng)
    (root / "images/readme.txt").write_text("pictures\n")


def _write_picture(path: Path, adjective: str, noun: str, rng: np.random.Generator) -> None:
    """The noun is the hue, the state a stripe."""
    pixels = np.full((32, 40, 3), [(ord(letter) * 7) % 200 for letter in noun[:3]])
    stripe = (_TINT.index(adjective) if adjective in _TINT else 0) * 4
    pixels[stripe : stripe + 4] = 255
    write_pixels(path, pixels, rng)
