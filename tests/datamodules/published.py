"""Miniature copies of data sets in their published form on disk: true ids, counts and classes, invented content.

Whatever is invented carries its class, so that short training runs learn something; everything is the same each time.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from datamodules.committed_splits import read_split

WIKIPEDIA_CLASSES = [
    "art",
    "biology",
    "geography",
    "history",
    "literature",
    "media",
    "music",
    "royalty",
    "sport",
    "warfare",
]
WIKIPEDIA_TRAIN = (138, 272, 244, 248, 202, 178, 186, 144, 214, 347)
WIKIPEDIA_TEST_FIRST_231 = (11, 33, 34, 27, 16, 18, 16, 15, 21, 40)
WIKIPEDIA_TEST_OTHER_462 = (23, 55, 62, 58, 49, 40, 35, 26, 50, 64)

PASCAL_FEATURES = 64
PASCAL_SPLITS = 5


def write_wikipedia(root: Path, tfidf: bool = False, pictures: bool = False) -> None:
    """Write Wikipedia: the list files, the features, and pictures and articles of the first training rows if asked."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    carved = read_split("wikipedia_validation")["rows"]
    labels = {
        "tr": _wikipedia_train_labels([carved[name] for name in WIKIPEDIA_CLASSES], rng),
        "te": np.concatenate([_shuffled(WIKIPEDIA_TEST_FIRST_231, rng), _shuffled(WIKIPEDIA_TEST_OTHER_462, rng)]),
    }
    (root / "categories.list").write_text("".join(f"{name}\n" for name in WIKIPEDIA_CLASSES))
    for suffix, name in (("tr", "trainset"), ("te", "testset")):
        ids = [(_hex(f"{name} text {row}"), _hex(f"{name} image {row}")) for row in range(len(labels[suffix]))]
        lines = [
            f"{text}-{row % 9 + 1}\t{image}\t{label + 1}\n"
            for row, ((text, image), label) in enumerate(zip(ids, labels[suffix], strict=True))
        ]
        (root / f"{name}_txt_img_cat.list").write_text("".join(lines))
    features = {f"I_{suffix}": _histograms(of, 128, 600, rng) for suffix, of in labels.items()}
    features |= {f"T_{suffix}": _histograms(of, 10, 60, rng) for suffix, of in labels.items()}
    scipy.io.savemat(root / "raw_features.mat", features, do_compression=True)
    if tfidf:
        words = {f"T_tfidf_{suffix}": _unit(_histograms(of, 1000, 100, rng)) for suffix, of in labels.items()}
        scipy.io.savemat(root / "raw_features_with_tfidf.mat", words | features, do_compression=True)
    if pictures:
        _write_wikipedia_pictures(root, rows=20)


def write_pascal_sentence(root: Path, pictures: bool = False) -> None:
    """Write Pascal Sentence: the sentences, image features, and all pictures if asked."""
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
    sentences = {
        name: {"category": category[name], "captions": _sentences(category[name], row, rng)}
        for row, name in enumerate(names)
    }
    by_category = dict(sorted(sentences.items(), key=lambda item: item[1]["category"]))
    (root / "pascal_sentences.json").write_text(json.dumps(by_category))
    prototype = rng.gamma(0.5, 1.0, (len(classes), PASCAL_FEATURES))
    features = np.maximum(prototype[number] + rng.normal(0, 1.5, (len(names), PASCAL_FEATURES)), 0)
    np.savez(root / "mobilenetv2_features.npz", names=np.array(names), features=features.astype(np.float16))
    if pictures:
        (root / "images").mkdir()
        for name, row in zip(names, number, strict=True):
            _write_picture(root / "images" / name, int(row))


def write_pascal_sentence_dscmr(root: Path) -> None:
    """Write Pascal Sentence as DSCMR distributes it."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    carved = read_split("pascal_sentence_dscmr_validation")["rows"]
    order = sorted(range(20), key=lambda label: carved[str(label)][0])
    prototype = {"img": rng.gamma(0.5, 1.0, (20, 4096)), "txt": rng.gamma(0.5, 1.0, (20, 300))}
    for half, per_class in (("train", 40), ("test", 5)):
        labels = np.repeat(order, per_class)
        for kind, mean in prototype.items():
            features = np.maximum(mean[labels] + rng.normal(0, 1.0, (len(labels), mean.shape[1])), 0)
            scipy.io.savemat(root / f"{half}_{kind}.mat", {f"{half}_{kind}": features.astype(np.float32)})
        scipy.io.savemat(root / f"{half}_img_lab.mat", {f"{half}_img_lab": labels[:, None].astype(np.int64)})


def _wikipedia_train_labels(carved: list[list[int]], rng: np.random.Generator) -> np.ndarray:
    """Labels in the true counts, with every validation row in its class and the others shuffled."""
    labels = np.full(sum(WIKIPEDIA_TRAIN), -1)
    for label, rows in enumerate(carved):
        labels[rows] = label
    others = [count - len(rows) for count, rows in zip(WIKIPEDIA_TRAIN, carved, strict=True)]
    labels[labels < 0] = _shuffled(others, rng)
    return labels


def _shuffled(counts: tuple[int, ...] | list[int], rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(np.repeat(np.arange(len(counts)), counts))


def _histograms(labels: np.ndarray, bins: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Relative frequencies, `(N, bins)` with rows that sum to 1; each class prefers a few bins of its own."""
    preference = np.full((labels.max() + 1, bins), 1 / bins)
    for label, bins_of_class in enumerate(np.array_split(np.arange(bins), len(preference))):
        preference[label, bins_of_class] += 0.6 / len(bins_of_class)
    preference /= preference.sum(axis=1, keepdims=True)
    own = rng.dirichlet(np.ones(bins), len(labels))
    return rng.multinomial(draws, 0.5 * preference[labels] + 0.5 * own) / draws


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _hex(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _write_wikipedia_pictures(root: Path, rows: int) -> None:
    (root / "texts").mkdir()
    for row, line in enumerate((root / "trainset_txt_img_cat.list").read_text().splitlines()[:rows]):
        text, image, label = line.split("\t")
        folder = root / "images" / WIKIPEDIA_CLASSES[int(label) - 1]
        folder.mkdir(parents=True, exist_ok=True)
        _write_picture(folder / f"{image}.jpg", int(label))
        (root / "texts" / f"{text}.xml").write_text(f"<article>\n<text>\nSection {row}: Q & A.\n</text>\n</article>\n")


def _write_picture(path: Path, label: int) -> None:
    """A small picture in the colour of its class."""
    colour = ((label * 37) % 256, (label * 91) % 256, (label * 151) % 256)
    Image.new("RGB", (24, 16), colour).save(path)


def _sentences(category: str, row: int, rng: np.random.Generator) -> list[str]:
    """Five sentences, in three images four and in one six, of words of the class and words of all classes."""
    count = {100: 4, 400: 4, 700: 4, 900: 6}.get(row, 5)
    own = [f"{category}{ending}" for ending in ("", "like", "side", "ward")]
    common = ["left", "right", "large", "small", "white", "brown", "grass", "room", "street", "water"]
    words = common * 3 + own
    return [
        f"A {rng.choice(words)} {rng.choice(words)} near the {rng.choice(common)} {rng.choice(common)}."
        for _ in range(count)
    ]
