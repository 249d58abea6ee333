"""Flickr8k in miniature, in all its published forms; and pictures with captions as Karpathy's files list them."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datamodules.flickr import Flickr8k
from tests.datamodules.published.invention import SMALL, Expected, colour, sentences

load = partial(Flickr8k, image=SMALL)
TINY = {"batch_size": 8}
SPLITS = [
    Expected({}, "Karpathy 40/10/10", "7d9155a4bef51dcf", (40, 10, 10)),
    Expected(
        {"pictures": "first-1000"},
        "first 1000 of 8092 pictures by file name, Karpathy 20/5/5",
        "e08c6e12d7466c18",
        (20, 5, 5),
    ),
]
SIZES = {"train": 40, "val": 10, "test": 10}
STRAY = "2258277193_586949ec62.jpg"
_KINDS = ["dog", "child", "boat", "bicycle"]


def write(root: Path, karpathy: bool = True) -> None:
    """Write Flickr8k: pictures, every other with a name among the first, token file, lists, and Karpathy's file."""
    images = karpathy_images(SIZES)
    for number, image in enumerate(images):
        image["filename"] = f"{(2513260012, 1513260012)[number % 2] + number}_{number:010x}.jpg"
    write_pictures(root / "Flicker8k_Dataset", [image["filename"] for image in images])
    if karpathy:
        write_karpathy(root / "dataset_flickr8k.json", "flickr8k", images)
    lines = [
        f"{image['filename']}#{number}\t{sentence['raw']}"
        for image in sorted(images, key=lambda image: image["filename"])
        for number, sentence in enumerate(image["sentences"])
    ]
    lines += [f"{STRAY}.1#0\tpeople waiting", *(f"{STRAY}#{number}\tPeople waiting ." for number in range(1, 5))]
    (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n")
    for part, name in (("train", "train"), ("val", "dev"), ("test", "test")):
        names = [image["filename"] for image in images if image["split"] == part]
        (root / f"Flickr_8k.{name}Images.txt").write_text("".join(f"{file}\n" for file in names))


def karpathy_images(sizes: dict[str, int], captions: Sequence[int] = (5,)) -> list[dict[str, Any]]:
    """Entries of Karpathy's files without the names of files.

    Args:
        sizes: Number of pictures of each split.
        captions: Number of captions of the first picture, the second and so on, round and round.
    """
    rng = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    first = 0
    for row, split in enumerate(split for split, size in sizes.items() for _ in range(size)):
        texts = sentences(_KINDS[row % len(_KINDS)], captions[row % len(captions)], rng)
        images.append(karpathy_entry(row, split, first, texts))
        first += len(texts)
    return images


def karpathy_entry(row: int, split: str, first: int, texts: list[str]) -> dict[str, Any]:
    """An entry of Karpathy's files without the name of its file, whose sentences are numbered from `first`."""
    listed = [
        {"tokens": raw.lower().strip(".").split(), "raw": raw, "imgid": row, "sentid": first + number}
        for number, raw in enumerate(texts)
    ]
    ids = [sentence["sentid"] for sentence in listed]
    return {"sentids": ids, "imgid": row, "sentences": listed, "split": split}


def write_karpathy(path: Path, dataset: str, images: list[dict[str, Any]]) -> None:
    """Write a file of Karpathy's form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"images": images, "dataset": dataset}))


def write_pictures(folder: Path, names: Sequence[str]) -> None:
    """Write small pictures, each with a colour of its own in one corner and that of its kind elsewhere."""
    for row, name in enumerate(names):
        pixels = np.full((30, 40, 3), (row % len(_KINDS)) * 60, dtype=np.uint8)
        pixels[:15, :20] = colour(row)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
