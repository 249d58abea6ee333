"""NUS-WIDE in miniature: the published lists with their oddities, invented photos, tags, labels and features."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.nus_wide import NUSWIDE, TEN
from tests.datamodules.published.invention import Expected, write_picture

TINY = {"batch_size": 32}
_RULE = "selected by our own rule"
SPLITS = [
    Expected({}, f"10k, {_RULE}: 785 train, 91 val, 91 test", "5037b4a6aaf5b565", (785, 91, 91)),
    Expected(
        {"variant": "tc10"},
        f"tc10, {_RULE}: 399 train, 103 val, 10 test queries in a gallery of 1032 others",
        "a5a4e204fd205575",
        (399, 103, 1042),
        "train+test val+test",
    ),
    Expected(
        {"variant": "tc21"},
        f"tc21, {_RULE}: 487 train, 73 val, 421 test queries in a gallery of 735 others",
        "e00012049926dff7",
        (487, 73, 1156),
        "train+test val+test",
    ),
]

CONCEPTS = sorted([*TEN, *(f"concept{number:02d}" for number in range(71))])
PHOTOS = 1200
UNTAGGED = (5, 77, 300)
TWICE = (100, 950)
"""Two lines of the same photo, in different folders."""
FEATURES = 64


def load(root: Path, **settings: Any) -> NUSWIDE:
    return NUSWIDE(str(root), **{"image": FeatureArchive("vgg19_features.npz"), **settings})


def write(root: Path, pictures: bool = False) -> None:
    """Write NUS-WIDE: lists, labels, tags, image features, and the pictures of the first photos if asked."""
    rng = np.random.default_rng(0)
    main = rng.permutation(np.arange(PHOTOS) % len(TEN))
    ids = rng.choice(2**31, PHOTOS, replace=False)
    ids[TWICE[1]] = ids[TWICE[0]]
    main[TWICE[1]] = main[TWICE[0]]
    folders = np.array(["actor", "adult", "zoo"])[np.arange(PHOTOS) * 3 // PHOTOS]
    files = [f"{row % 400 + 1:04d}_{number}.jpg" for row, number in enumerate(ids)]
    labels = _labels(main, rng)

    for folder in ("ImageList", "ConceptsList", "Groundtruth/AllLabels", "NUS_WID_Tags"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    lines = [f"{folder}\\{file}\r\n" for folder, file in zip(folders, files, strict=True)]
    lines[600] += "\r\n"
    (root / "ImageList/Imagelist.txt").write_bytes("".join([*lines, "\r\n"]).encode())
    (root / "ConceptsList/Concepts81.txt").write_text("".join(f"{name}\n" for name in CONCEPTS))
    for name, column in zip(CONCEPTS, labels.T, strict=True):
        (root / f"Groundtruth/AllLabels/Labels_{name}.txt").write_text("".join(f"{int(value)}\n" for value in column))
    _write_tags(root / "NUS_WID_Tags", ids, main, rng)
    prototypes = rng.gamma(0.5, 1.0, (len(TEN), FEATURES))
    features = np.maximum(prototypes[main] + rng.normal(0, 1.0, (PHOTOS, FEATURES)), 0)
    np.savez(root / "vgg19_features.npz", names=np.array(files), features=features.astype(np.float16))
    if pictures:
        for row in range(20):
            write_picture(root / "Flickr" / folders[row] / files[row], int(main[row]))


def _labels(main: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Concepts of each photo `(N, 81)`: its main one, at times another of the ten, and some of the others."""
    ten = [CONCEPTS.index(name) for name in TEN]
    others = [column for column in range(len(CONCEPTS)) if column not in ten]
    labels = np.zeros((len(main), len(CONCEPTS)), dtype=bool)
    labels[np.arange(len(main)), np.array(ten)[main]] = True
    second = rng.random(len(main)) < 0.2
    labels[np.flatnonzero(second), rng.choice(ten, second.sum())] = True
    labels[:, others] = rng.random((len(main), len(others))) < np.linspace(0.2, 0.01, len(others))
    labels[rng.random(len(main)) < 0.02] = False
    labels[TWICE[1]] = labels[TWICE[0]]
    return labels


def _write_tags(folder: Path, ids: np.ndarray, main: np.ndarray, rng: np.random.Generator) -> None:
    """Tags of which the first 20 of 1,000 are said of all photos and the next ones of a class each."""
    words = [f"tag{number}" for number in range(1000)]
    has = np.zeros((len(ids), len(words)), dtype=bool)
    for row, label in enumerate(main):
        has[row, rng.choice(20, 3)] = True
        has[row, 20 + 40 * label + rng.choice(40, 4)] = True
    has[list(UNTAGGED)] = False
    has[TWICE[1]] = has[TWICE[0]]
    lines = [
        f"{number}      {' '.join(words[tag] for tag in np.flatnonzero(tags))} \r\n"
        for number, tags in zip(ids, has, strict=True)
    ]
    (folder / "All_Tags.txt").write_text("".join(lines), newline="")
    columns = np.full((len(ids), 2 * len(words) + 2), ord("\t"), dtype=np.uint8)
    columns[:, 0:-2:2] = ord("0") + has
    columns[:, -2:] = np.frombuffer(b"\r\n", np.uint8)
    (folder / "AllTags1k.txt").write_bytes(columns.tobytes())
