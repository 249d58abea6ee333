"""Inventing content that carries its class, so that short training runs learn something."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from datamodules.inputs.pictures import Pictures

SMALL = Pictures(crop=16, resize=16)
"""Pictures as quickly decoded as can be."""


class Expected(NamedTuple):
    """What a split of a miniature is: other values are another data set.

    Attributes:
        settings: How the data set is built.
        name: Name of the split.
        checksum: Its checksum.
        sizes: Pictures of train, val and test.
        shared: Parts that have pictures in common, such as `train+val train+test`.
    """

    settings: dict[str, Any]
    name: str
    checksum: str
    sizes: tuple[int, int, int]
    shared: str = ""


def histograms(labels: np.ndarray, bins: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Relative frequencies, `(N, bins)` with rows that sum to 1; each class prefers a few bins of its own."""
    preference = np.full((labels.max() + 1, bins), 1 / bins)
    for label, bins_of_class in enumerate(np.array_split(np.arange(bins), len(preference))):
        preference[label, bins_of_class] += 0.6 / len(bins_of_class)
    preference /= preference.sum(axis=1, keepdims=True)
    own = rng.dirichlet(np.ones(bins), len(labels))
    return rng.multinomial(draws, 0.5 * preference[labels] + 0.5 * own) / draws


def hexadecimal(text: str) -> str:
    """32 hexadecimal digits that look random."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def colour(label: int) -> tuple[int, int, int]:
    """The colour of a class."""
    return (label * 37) % 256, (label * 91) % 256, (label * 151) % 256


def write_picture(path: Path, label: int) -> None:
    """A small picture in the colour of its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (24, 16), colour(label)).save(path)


def write_pixels(path: Path, pixels: np.ndarray, rng: np.random.Generator) -> None:
    """A picture with noise, so that no two are alike."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = pixels + rng.integers(-20, 21, pixels.shape)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


def sentences(category: str, count: int, rng: np.random.Generator) -> list[str]:
    """Sentences of words of the class and words of all classes."""
    own = [f"{category}{ending}" for ending in ("", "like", "side", "ward")]
    common = ["left", "right", "large", "small", "white", "brown", "grass", "room", "street", "water"]
    words = common * 3 + own
    return [
        f"A {rng.choice(words)} {rng.choice(words)} near the {rng.choice(common)} {rng.choice(common)}."
        for _ in range(count)
    ]
