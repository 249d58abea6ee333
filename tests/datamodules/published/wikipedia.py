"""Wikipedia in miniature: true counts, classes and order, invented content."""

from pathlib import Path

import numpy as np
import scipy.io
from sklearn.preprocessing import normalize

from datamodules.reading.committed_splits import read_split
from datamodules.wikipedia import Wikipedia
from tests.datamodules.published.invention import Expected, hexadecimal, histograms, sentences, write_picture

load = Wikipedia
TINY = {"batch_size": 32}
SPLITS = [
    Expected({}, "official 2173/693, 217 of the 2173 carved for validation", "1f10a759ba640ab8", (1956, 217, 693)),
    Expected(
        {"split": "official-all"},
        "official 2173/693, the 217 validation rows trained on too",
        "681c357b5dee75c2",
        (2173, 217, 693),
        "train+val",
    ),
    Expected(
        {"split": "231/462"},
        "2173/231/462, validation on the first 231 test rows",
        "ef2a99b5b078aca9",
        (2173, 231, 462),
    ),
]

CLASSES = Wikipedia.classes
TRAIN = (138, 272, 244, 248, 202, 178, 186, 144, 214, 347)
TEST_FIRST_231 = (11, 33, 34, 27, 16, 18, 16, 15, 21, 40)
TEST_OTHER_462 = (23, 55, 62, 58, 49, 40, 35, 26, 50, 64)


def write(root: Path, tfidf: bool = True, pictures: int = 0) -> None:
    """Write Wikipedia: the list files, the features, and pictures and articles of so many rows of each list.

    Pictures of the training list are in a folder for each category, the others are not.
    """
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    published = read_split("wikipedia_labels")["labels"]
    labels = {"tr": np.array(published["train"]), "te": np.array(published["test"])}
    (root / "categories.list").write_text("".join(f"{name}\n" for name in CLASSES))
    for suffix, name in (("tr", "trainset"), ("te", "testset")):
        lines = [
            f"{hexadecimal(f'{name} text {row}')}-{row % 9 + 1}\t{hexadecimal(f'{name} image {row}')}\t{label + 1}\n"
            for row, label in enumerate(labels[suffix])
        ]
        (root / f"{name}_txt_img_cat.list").write_text("".join(lines))
    features = {f"I_{suffix}": histograms(of, 128, 600, rng) for suffix, of in labels.items()}
    features |= {f"T_{suffix}": histograms(of, 10, 60, rng) for suffix, of in labels.items()}
    scipy.io.savemat(root / "raw_features.mat", features, do_compression=True)
    if tfidf:
        words = {f"T_tfidf_{suffix}": normalize(histograms(of, 1000, 100, rng)) for suffix, of in labels.items()}
        scipy.io.savemat(root / "raw_features_with_tfidf.mat", words | features, do_compression=True)
    for name in ("trainset", "testset"):
        _write_pictures(root, name, pictures)


def _write_pictures(root: Path, name: str, rows: int) -> None:
    rng = np.random.default_rng(1)
    for row, line in enumerate((root / f"{name}_txt_img_cat.list").read_text().splitlines()[:rows]):
        text, image, label = line.split("\t")
        category = CLASSES[int(label) - 1]
        folder = root / "images" / category if name == "trainset" else root / "images"
        write_picture(folder / f"{image}.jpg", int(label))
        _write_article(root, text, " ".join([f"Section {row}: Q & A.", *sentences(category, 2, rng)]))


def write_articles(root: Path) -> None:
    """Write an article of every row: the features of a text are kept with a checksum of the text."""
    for name in ("trainset", "testset"):
        for row, line in enumerate((root / f"{name}_txt_img_cat.list").read_text().splitlines()):
            text, _, label = line.split("\t")
            category = CLASSES[int(label) - 1]
            section = f"Section {row} of {name}, about {category}, {category}side and {category}ward."
            _write_article(root, text, section)


def _write_article(root: Path, name: str, section: str) -> None:
    (root / "texts").mkdir(exist_ok=True)
    (root / "texts" / f"{name}.xml").write_text(f"<article>\n<text>\n{section}\n</text>\n</article>\n")
