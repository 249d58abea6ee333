"""Pascal Sentence in miniature: true ids and classes, invented sentences, features and pictures."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.pascal_sentence import PascalSentence
from datamodules.reading.committed_splits import read_split
from tests.datamodules.published.invention import Expected, sentences, write_picture

TINY = {"batch_size": 32}
_SPLITS = {
    "800/100/100": ("800/100/100", (800, 100, 100), ""),
    "800/200": ("800/200, 100 of the 800 carved for validation", (700, 100, 200), ""),
    "800/200-all": ("800/200, the 100 validation images trained on too", (800, 100, 200), "train+val"),
}
_CHECKSUMS = {
    "800/100/100": ("db7741d8131e7eae", "9f3eef9d85ef716b", "0ac6109fea40f931", "a1f35f2bf7125148", "153d9e815e2a4216"),
    "800/200": ("1b9a7b382ae428f8", "a3c33de0abe687e7", "854085598c4f2cea", "986c4a279285c66c", "a9fa05f9e352b573"),
    "800/200-all": ("44ee8ac3be85aaa4", "4da2f8c4d413e31d", "16c49b0cab026806", "82c7b420bd08663c", "29463a763ee9d3db"),
}
SPLITS = [
    Expected({"split": number, "sizes": sizes}, f"{number} of 5, {name}", checksum, images, shared)
    for sizes, (name, images, shared) in _SPLITS.items()
    for number, checksum in enumerate(_CHECKSUMS[sizes])
]
SPLITS.append(
    Expected(
        {"sizes": "tuning"},
        "320/100/100 of images in no test part, for tuning",
        "0c23eccd61039770",
        (320, 100, 100),
        "",
    )
)
FEATURES = 64
_COUNTS = {100: 4, 400: 4, 700: 4, 900: 6}
"""Rows with another number of sentences than five."""


def load(root: Path, **settings: Any) -> PascalSentence:
    return PascalSentence(str(root), **{"image": FeatureArchive("mobilenetv2_features.npz"), **settings})


def write(root: Path, pictures: bool = False, folders: bool = False) -> None:
    """Write Pascal Sentence: the sentences, image features, and all pictures if asked.

    With `folders`, sentences and pictures are in a folder for each class, half of the sentence files without their dot.
    """
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    parts = read_split("pascal_sentence_0")["parts"].values()
    category = {name: label for of in parts for label, names in of.items() for name in names}
    classes = sorted(set(category.values()))
    names = sorted(category)
    number = np.array([classes.index(category[name]) for name in names])
    records = {
        name: {"category": category[name], "captions": sentences(category[name], _COUNTS.get(row, 5), rng)}
        for row, name in enumerate(names)
    }
    by_category = dict(sorted(records.items(), key=lambda item: item[1]["category"]))
    if folders:
        _write_folders(root, by_category)
    else:
        (root / "pascal_sentences.json").write_text(json.dumps(by_category))
    prototype = rng.gamma(0.5, 1.0, (len(classes), FEATURES))
    features = np.maximum(prototype[number] + rng.normal(0, 1.5, (len(names), FEATURES)), 0)
    np.savez(root / "mobilenetv2_features.npz", names=np.array(names), features=features.astype(np.float16))
    if pictures:
        for name, row in zip(names, number, strict=True):
            write_picture(root / (f"dataset/{category[name]}" if folders else "images") / name, int(row))


def _write_folders(root: Path, records: dict[str, dict[str, Any]]) -> None:
    numbered = []
    for number, (name, record) in enumerate(records.items(), 1):
        folder = root / "sentence" / record["category"]
        folder.mkdir(parents=True, exist_ok=True)
        stem = name.removesuffix(".jpg")
        text = "".join(f"{sentence}\n" for sentence in record["captions"])
        (folder / (f"{stem}txt" if number % 2 else f"{stem}.txt")).write_text(text)
        numbered.append(f"{number},{record['category']}/{name}\r\n")
    (root / "correspondence.csv").write_text("".join(numbered))
