"""Wikipedia (Rasiwasia et al., ACM MM 2010): 2,866 sections of articles with their pictures, ten classes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL
from datamodules.base import CrossModalData, PartName, Split, split_checksum
from datamodules.committed_splits import read_rows
from datamodules.loaders import Part
from datamodules.published_files import feature_rows, find, read_lines, read_mat, read_picture

_ARCHIVE = (
    "it is part of wikipedia_dataset.zip from the cross-modal page of SVCL (svcl.ucsd.edu/projects/crossmodal), whose "
    "content belongs into the folder given as data.root"
)
_TFIDF_ARCHIVE = (
    "it is the raw_features.mat with a thousand tf-idf words that the public code azrealwang/sph holds in its folder "
    "data, to be put under this name into the folder given as data.root"
)

_LISTS = {"train": ("trainset_txt_img_cat.list", 2173), "test": ("testset_txt_img_cat.list", 693)}
_SUFFIXES = {"train": "tr", "test": "te"}
_FIRST = 231
_IMAGE_SIZE = 128


class _TextForm(NamedTuple):
    file: str
    key: str
    size: int
    source: str
    words: str


_TEXTS = {
    "lda": _TextForm("raw_features.mat", "T", 10, _ARCHIVE, "10 LDA topic probabilities"),
    "tfidf": _TextForm("raw_features_with_tfidf.mat", "T_tfidf", 1000, _TFIDF_ARCHIVE, "tf-idf of 1000 words"),
}
_SPLIT_NAMES = {
    "official": "official 2173/693, 217 of the 2173 carved for validation",
    "official-all": "official 2173/693, the 217 validation rows trained on too",
    "231/462": "2173/231/462, validation on the first 231 test rows",
}


class _Row(NamedTuple):
    """A line of a list file; the label counts from 0."""

    text_id: str
    image_id: str
    label: int


class Wikipedia(CrossModalData):
    """Wikipedia with its published features: SIFT histograms of the images, LDA topics or tf-idf of the texts.

    The folder has the content of `wikipedia_dataset.zip`; pictures and articles are for people to look at and may be
    missing:

        <root>/categories.list
        <root>/{trainset,testset}_txt_img_cat.list
        <root>/raw_features.mat
        <root>/raw_features_with_tfidf.mat        for text: tfidf
        <root>/images/[<category>/]<image_id>.jpg
        <root>/texts/<text_id>.xml

    Source, terms, counts and known faults: `datamodules/cards/wikipedia.md`.

    Args:
        root: Folder of the published files.
        text: What a text is: `lda`, 10 topic probabilities, or `tfidf`, 1,000 word weights.
        split: `official` holds 217 of the 2,173 training rows out for validation, by class, so 1,956 are trained on.
            `official-all` trains on all 2,173, as published baselines do; its validation part are the same 217 rows,
            by then seen, so only methods that choose nothing on validation, such as CCA, may be measured on it.
            `231/462` trains on all 2,173, validates on the first 231 test rows and tests on the other 462.
        batch_size: Training pairs in a batch.
        eval_batch_size: Items encoded at once in evaluation.
    """

    classes = (
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
    )
    protocols = CLASS_LEVEL

    def __init__(
        self,
        root: str,
        text: Literal["lda", "tfidf"] = "lda",
        split: Literal["official", "official-all", "231/462"] = "official",
        batch_size: int = 64,
        eval_batch_size: int = 1024,
    ) -> None:
        super().__init__(batch_size, eval_batch_size)
        self.root = Path(root).expanduser()
        self._text = _TEXTS[text]
        self._split = split
        self._split_name = _SPLIT_NAMES[split]

    @property
    def split(self) -> Split:
        """The split, its checksum taken over the image ids; reads the list files, but no features."""
        parts = {
            "train": self._image_ids("train"),
            "val": self._image_ids("val"),
            "test": self._image_ids("test"),
        }
        return Split(self._split_name, split_checksum(parts))

    @property
    def features(self) -> str:
        """Published features, in words."""
        return f"images: 128-bin SIFT histograms; texts: {self._text.words} ({self._text.file})"

    def read(self, part: PartName) -> Part:
        """Read one part from the published files, in their order.

        Raises:
            UserError: If a file is missing or is not what was published.
        """
        self._check_categories()
        listed = self._listed(part)
        return Part(
            image=self._features(part, "I", _IMAGE_SIZE),
            text=self._features(part, self._text.key, self._text.size),
            label=torch.tensor([row.label for row in listed]),
            owner=torch.arange(len(listed)),
            image_names=tuple(self._image_ids(part)),
            captions=tuple(self._article(row.text_id) for row in listed),
        )

    def picture(self, part: PartName, image: int) -> np.ndarray | None:
        """The JPEG under `images`, uint8 `(H, W, 3)`, or None where it is not there."""
        path = self._pictures.get(self.part(part).image_names[image])
        return None if path is None else read_picture(path)

    def _published(self, part: PartName) -> Literal["train", "test"]:
        """Which published half a part is cut from."""
        if part == "val":
            return "test" if self._split == "231/462" else "train"
        return part

    def _rows(self, part: PartName) -> Sequence[int]:
        """Rows of a part in its published half."""
        count = _LISTS[self._published(part)][1]
        if self._split == "231/462":
            return {"train": range(count), "val": range(_FIRST), "test": range(_FIRST, count)}[part]
        if part == "test" or (part == "train" and self._split == "official-all"):
            return range(count)
        carved = read_rows(
            "wikipedia_validation",
            [row.label for row in self._list("train")],
            self.classes,
            self.root / _LISTS["train"][0],
        )
        return carved if part == "val" else sorted(set(range(count)) - set(carved))

    def _listed(self, part: PartName) -> list[_Row]:
        """Lines of the list file that are in a part."""
        lines = self._list(self._published(part))
        return [lines[row] for row in self._rows(part)]

    def _image_ids(self, part: PartName) -> list[str]:
        return [row.image_id for row in self._listed(part)]

    def _list(self, half: Literal["train", "test"]) -> list[_Row]:
        """All lines of a list file."""
        name, count = _LISTS[half]
        path = find(self.root, name, _ARCHIVE)
        lines = [line.split("\t") for line in read_lines(path, count, _ARCHIVE)]
        labels = {str(number) for number in range(1, len(self.classes) + 1)}
        for number, line in enumerate(lines, 1):
            if len(line) != 3 or line[2] not in labels:
                raise UserError(
                    f"{path}, line {number}: expected a text id, an image id and a label from 1 to "
                    f"{len(self.classes)}, separated by tabs, and found {' '.join(line)!r}; {_ARCHIVE}."
                )
        return [_Row(text_id, image_id, int(label) - 1) for text_id, image_id, label in lines]

    def _check_categories(self) -> None:
        path = find(self.root, "categories.list", _ARCHIVE)
        found = read_lines(path, len(self.classes), _ARCHIVE)
        if tuple(name.strip() for name in found) != self.classes:
            raise UserError(f"{path} should name {', '.join(self.classes)} and names {', '.join(found)}; {_ARCHIVE}.")

    def _features(self, part: PartName, key: str, size: int) -> torch.Tensor:
        half = self._published(part)
        path = find(self.root, self._text.file, self._text.source)
        key = f"{key}_{_SUFFIXES[half]}"
        array = read_mat(path, key, (_LISTS[half][1], size), self._text.source)
        return feature_rows(array, self._rows(part), f"{path}: {key}", self._text.source)

    def _article(self, text_id: str) -> str:
        """The text that people read, empty where the articles are not there.

        It is what stands between two tags: an XML parser would refuse articles with unescaped ampersands.
        """
        path = self.root / "texts" / f"{text_id}.xml"
        if not path.is_file():
            return ""
        content = path.read_text(encoding="utf-8", errors="replace")
        found = re.search("<text>(.*)</text>", content, re.DOTALL)
        return " ".join((found[1] if found else content).split())

    @cached_property
    def _pictures(self) -> dict[str, Path]:
        """JPEG of each image id, wherever it lies under `images`."""
        return {path.stem: path for path in (self.root / "images").rglob("*.jpg")}
