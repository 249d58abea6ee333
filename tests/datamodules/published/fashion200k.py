"""Fashion200k in miniature: label files with their oddities, a list of test queries, invented garments."""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np

from datamodules.fashion200k import Fashion200k
from tests.datamodules.published.invention import SMALL, Expected, write_pixels

load = partial(Fashion200k, image=SMALL)
TINY = {"batch_size": 8, "eval_batch_size": 32}
SPLITS = [
    Expected({}, "official test queries, a tenth of the training products held out", "a5bb399867325633", (202, 24, 65))
]
CATEGORIES = {"dress": "dresses", "jacket": "jackets", "pants": "pants", "skirt": "skirts", "top": "tops"}
"""Categories as the label files call them, and as the folders do."""
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30)}
PATTERNS = ("lace", "topstitched", "striped")
PRODUCTS = {"train": 30, "test": 9}
"""Products of each category in each part, with one picture, two, one and so on."""
LONELY = "one of a kind & only. really? *"
"""A description without siblings, with all the marks that are written out."""


def write(root: Path) -> None:
    """Write label files, pictures and test queries."""
    (root / "labels").mkdir(parents=True, exist_ok=True)
    described: dict[str, str] = {}
    rng = np.random.default_rng(0)
    for part, products in PRODUCTS.items():
        for first, (category, folder) in zip(range(51_727_804, 10**8, 10_000), CATEGORIES.items(), strict=False):
            garments = list(product(COLOURS, PATTERNS))
            lines = []
            for number in range(products):
                colour, pattern = garments[number % len(garments)]
                name = str(first + number + (1000 if part == "test" else 0))
                for k in range(1 + number % 2):
                    picture = f"women/{folder}/{pattern}/{name}/{name}_{k}.jpeg"
                    lines.append(f"{picture}\t0.{90 + k}\t{colour} {pattern} {category}")
                    _write_picture(root / picture, colour, PATTERNS.index(pattern), rng)
                    if part == "test":
                        described[picture] = f"{colour} {pattern} {category}"
            if category == "dress":
                lines.append(lines[0])  # once more: a line counts once
            if category == "dress" and part == "train":
                picture = f"women/{folder}/other/{first - 1}/{first - 1}_0.jpeg"
                lines.append(f"{picture}\t0.5\t{LONELY}")
                _write_picture(root / picture, "red", 0, rng)
            (root / "labels" / f"{category}_{part}_detect_all.txt").write_text(
                "\n".join(lines) + "\n", encoding="utf-8"
            )
    (root / "labels" / "train_and_test_detect.txt").write_text("not a label file\n")
    (root / "test_queries.txt").write_text("".join(f"{a} {b}\n" for a, b in _queries(described)))


def _queries(described: dict[str, str]) -> list[tuple[str, str]]:
    """Pairs of pictures whose descriptions differ in one word, one for each picture."""
    pairs = []
    for source, words in described.items():
        for target, others in described.items():
            differing = sum(a != b for a, b in zip(words.split(), others.split(), strict=True))
            if differing == 1 and source != target and words.split()[2] == others.split()[2]:
                pairs.append((source, target))
                break
    return pairs


def _write_picture(path: Path, colour: str, pattern: int, rng: np.random.Generator) -> None:
    """Colour and pattern can be seen."""
    pixels = np.full((40, 24, 3), COLOURS[colour], dtype=np.float64)
    pixels[:: pattern + 2] *= 0.4
    write_pixels(path, pixels, rng)
