"""Pascal Sentence in miniature: true ids and classes, invented sentences, features and pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.reading.committed_splits import read_split
from tests.datamodules.published.invention import sentences, write_picture

TINY = {"batch_size": 32}
FEATURES = 64
_COUNTS = {100: 4, 400: 4, 700: 4, 900: 6}
"""Rows with another number of sentences than five."""


def write(root: Path, pictures: bool = False, folders: bool = False) -> None:
    """Write Pascal Sentence: the sentences, image features, and all pictures if asked.

    With `folders`, sentences and pictures are in a folder for each class, half of the sentence files without their dot.
    """
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    category = {
        name: label
        for of in read_split("pascal_sentence_0")["parts"].values()
        for label, names in of.items()
        for name in names
    }
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
