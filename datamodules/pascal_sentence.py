"""Pascal Sentence (Rashtchian et al., NAACL-HLT 2010 workshop): 1,000 VOC pictures, about five sentences each."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL
from datamodules.base import CrossModalData, PartName, Split, split_checksum
from datamodules.committed_splits import read_split
from datamodules.loaders import Part
from datamodules.published_files import feature_rows, find, read_json, read_npz, read_picture

_SENTENCES = "pascal_sentences.json"
_SENTENCES_SOURCE = (
    "it is written by the public downloader michelecafagna26/Pascal_Sentence_Dataset-downloader, from the page "
    "vision.cs.uiuc.edu/pascal-sentences, and belongs into the folder given as data.root"
)
_FEATURES_SOURCE = (
    "it is given as data.image_features, relative to data.root, and holds the arrays names (N) and features (N x D) of "
    "an encoder run over the pictures"
)
_SPLITS = 5


class PascalSentence(CrossModalData):
    """Pascal Sentence with image features of your choice and tf-idf of each image's sentences.

        <root>/pascal_sentences.json            {file: {"category": name, "captions": [sentence, ...]}}
        <root>/mobilenetv2_features.npz         names (1000,), features (1000, D)
        <root>/images/<file>                    for people to look at; may be missing

    An image has one text: all its sentences, joined. Words are lower-cased runs of two or more letters or digits; words
    and their document frequencies come from the training texts alone; the vectors are float32 of unit length.

    Source, terms, counts and known faults: `datamodules/cards/pascal_sentence.md`.

    Args:
        root: Folder of the published files.
        split: Which of the five committed splits, 0 to 4; each has 40 training, 5 validation and 5 test images of
            each class.
        image_features: NumPy archive of image features, relative to `root` or absolute.
        stop_words: `english` drops the words on scikit-learn's English list, None keeps all.
        sublinear: Whether a word that occurs n times in a text counts 1 + ln n instead of n.
        min_df: Least number of training texts that a word must occur in.
        max_features: Keep only that many of the words that are most frequent in training; None keeps all.
        batch_size: Training pairs in a batch.
        eval_batch_size: Items encoded at once in evaluation.

    Raises:
        UserError: If there is no split of that number.
    """

    classes = (
        "aeroplane",
        "bicycle",
        "bird",
        "boat",
        "bottle",
        "bus",
        "car",
        "cat",
        "chair",
        "cow",
        "diningtable",
        "dog",
        "horse",
        "motorbike",
        "person",
        "pottedplant",
        "sheep",
        "sofa",
        "train",
        "tvmonitor",
    )
    protocols = CLASS_LEVEL

    def __init__(
        self,
        root: str,
        split: int = 0,
        image_features: str = "mobilenetv2_features.npz",
        stop_words: Literal["english"] | None = "english",
        sublinear: bool = True,
        min_df: int = 2,
        max_features: int | None = None,
        batch_size: int = 64,
        eval_batch_size: int = 1024,
    ) -> None:
        super().__init__(batch_size, eval_batch_size)
        if split not in range(_SPLITS):
            raise UserError(f"data.split is {split}, but Pascal Sentence has the splits 0 to {_SPLITS - 1}.")
        self.root = Path(root).expanduser()
        self._number = split
        self._image_features = image_features
        self._stop_words = stop_words
        self._sublinear = sublinear
        self._min_df = min_df
        self._max_features = max_features

    @property
    def split(self) -> Split:
        """The committed split, its checksum taken over the file names; reads no published file."""
        return Split(f"{self._number} of {_SPLITS}, 800/100/100", split_checksum(self._names))

    @property
    def features(self) -> str:
        """Encoder and text weighting, in words."""
        count = "1 + ln n" if self._sublinear else "n"
        words = "English stop words dropped" if self._stop_words else "all words"
        most = f", at most {self._max_features}" if self._max_features else ""
        return (
            f"images: {self._image_features}; texts: tf-idf of the joined sentences, lower-cased, {words}, count "
            f"{count}, words of at least {self._min_df} training texts{most}, unit length"
        )

    def read(self, part: PartName) -> Part:
        """Read one part, class after class, file names in order.

        The words of the tf-idf vectors are those of the training texts, whichever part is read.

        Raises:
            UserError: If a file is missing or is not what it should be.
        """
        names = self._names[part]
        records = self._records(part)
        return Part(
            image=self._image_rows(names),
            text=torch.from_numpy(self._tfidf.transform(_joined(records)).toarray()),
            label=torch.tensor([self.classes.index(record["category"]) for record in records]),
            owner=torch.arange(len(names)),
            image_names=tuple(names),
            captions=tuple(record["captions"][0] for record in records),
        )

    def picture(self, part: PartName, image: int) -> np.ndarray | None:
        """The JPEG under `images`, uint8 `(H, W, 3)`, or None where it is not there."""
        path = self.root / "images" / self._names[part][image]
        return read_picture(path) if path.is_file() else None

    @cached_property
    def _by_class(self) -> dict[PartName, dict[str, list[str]]]:
        """File names of each class of each part."""
        return read_split(f"pascal_sentence_{self._number}")["parts"]

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """File names of each part, class after class."""
        return {part: [name for label in self.classes for name in of[label]] for part, of in self._by_class.items()}

    @cached_property
    def _tfidf(self) -> TfidfVectorizer:
        """Word weights, fitted on the training texts."""
        tfidf = TfidfVectorizer(
            stop_words=self._stop_words,
            sublinear_tf=self._sublinear,
            min_df=self._min_df,
            max_features=self._max_features,
            dtype=np.float32,
        )
        try:
            return tfidf.fit(_joined(self._records("train")))
        except ValueError as error:
            raise UserError(
                f"The training texts leave no words for tf-idf with data.min_df {self._min_df} and data.max_features "
                f"{self._max_features} ({error}); lower data.min_df."
            ) from error

    def _records(self, part: PartName) -> list[dict[str, Any]]:
        """Category and sentences of each image of a part."""
        path = find(self.root, _SENTENCES, _SENTENCES_SOURCE)
        content = read_json(path, _SENTENCES_SOURCE)
        records = []
        for label in self.classes:
            for name in self._by_class[part][label]:
                if name not in content:
                    raise UserError(
                        f"{path} should have the 1000 published images and lacks {name}; {_SENTENCES_SOURCE}."
                    )
                _check_record(content[name], label, f"{path}: {name}")
                records.append(content[name])
        return records

    def _image_rows(self, names: list[str]) -> Tensor:
        """Feature vectors of the named images, float32 `(len(names), D)`."""
        path = find(self.root, str(Path(self._image_features).expanduser()), _FEATURES_SOURCE)
        known, features = read_npz(path, ("names", "features"), _FEATURES_SOURCE)
        if known.ndim != 1 or features.ndim != 2 or len(known) != len(features) or features.dtype.kind not in "iuf":
            raise UserError(
                f"{path} should hold as many names as rows of features and holds names of shape {known.shape} and "
                f"features of shape {features.shape}, {features.dtype}; {_FEATURES_SOURCE}."
            )
        rows = {name: row for row, name in enumerate(known.tolist())}
        missing = [name for name in names if name not in rows]
        if missing:
            raise UserError(
                f"{path} lacks {len(missing)} of the {len(names)} images asked for, first {missing[0]}; "
                f"{_FEATURES_SOURCE}."
            )
        return feature_rows(features, [rows[name] for name in names], f"{path}: features", _FEATURES_SOURCE)


def _joined(records: list[dict[str, Any]]) -> list[str]:
    """One text per image."""
    return [" ".join(record["captions"]) for record in records]


def _check_record(record: Any, label: str, what: str) -> None:
    """Raise unless an entry of the JSON file has the category it is committed with, and sentences."""
    if not isinstance(record, dict) or record.get("category") != label:
        raise UserError(f"{what} should have the category {label} and is {str(record)[:80]}; {_SENTENCES_SOURCE}.")
    captions = record.get("captions")
    if not isinstance(captions, list) or not captions or not all(isinstance(c, str) and c.strip() for c in captions):
        raise UserError(f"{what} should have a list of sentences, none of them empty; {_SENTENCES_SOURCE}.")
