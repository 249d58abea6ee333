"""Pascal Sentence as the public code of DSCMR (Zhen et al., CVPR 2019) distributes it: features in MATLAB files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import LABELLED_PAIRS
from cmr_lightning.ranges import Name
from datamodules.base import CrossModalData, PartName, Split, split_checksum
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_data import PARTS
from datamodules.reading.committed_splits import check_labels, read_rows
from datamodules.reading.loaders import Part
from datamodules.reading.published_files import feature_rows, find, read_mat

_COUNTS = {"train": 800, "test": 100}
_FACTS = Facts(
    name="pascal_sentence_dscmr",
    title="Pascal Sentence as features (Zhen et al., CVPR 2019): 900 rows of 20 classes",
    level="class",
    terms="The public code of DSCMR, which holds the files, has no licence file.",
    origins=(
        Origin(
            tuple(f"{half}_{kind}.mat" for half in _COUNTS for kind in ("img", "txt", "img_lab")),
            "copy the files of the folder data/pascal of the public code penghu-cs/DSCMR",
        ),
    ),
    counts={"train": Counts(700, 700), "val": Counts(100, 100), "test": Counts(100, 100)},
    remark="the features of the DSCMR distribution, validation carved from its 800 training rows",
    card="pascal_sentence",
)
_SOURCE = _FACTS.source("train_img.mat")
_IMAGE_SIZE, _TEXT_SIZE = 4096, 300
_SPLIT_NAMES = {
    "official": "800/100, 100 of the 800 carved for validation",
    "official-all": "800/100, the 100 validation rows trained on too",
}


class PascalSentenceDSCMR(CrossModalData):
    """Pascal Sentence with the features of DSCMR: 4096 numbers an image (CNN, after ReLU), 300 a text.

        <root>/{train,test}_img.mat             train_img (800, 4096), test_img (100, 4096)
        <root>/{train,test}_txt.mat             train_txt (800, 300), test_txt (100, 300)
        <root>/{train,test}_img_lab.mat         train_img_lab (800, 1), test_img_lab (100, 1), 0 to 19

    The distribution names neither images nor classes, so classes are called `0` to `19` and images by their row. The
    validation part of DSCMR is not distributed. Counts and known faults: `datamodules/cards/pascal_sentence.md`.

    Args:
        root: Folder of the published files.
        split: `official` holds 100 of the 800 training rows out for validation, 5 of each class, so 700 are trained
            on. `official-all` trains on all 800, as published results do; its validation part is the same 100 rows,
            by then seen, so only methods that choose nothing on validation may be measured on it.
        **kwargs: Options of `CrossModalData`.
    """

    facts = _FACTS
    classes = tuple(str(number) for number in range(20))
    protocols = LABELLED_PAIRS

    def __init__(self, root: Name, split: Literal["official", "official-all"] = "official", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.root = Path(root).expanduser()
        self._split = split

    @property
    def split(self) -> Split:
        """The split, its checksum taken over the rows; reads the training labels."""
        parts: dict[str, list[str]] = {part: self._image_names(part) for part in PARTS}
        return Split(_SPLIT_NAMES[self._split], split_checksum(parts))

    @property
    def features(self) -> str:
        """Published features, in words."""
        return "images: 4096 CNN activations after ReLU; texts: 300 numbers; both as distributed by DSCMR"

    def read(self, part: PartName) -> Part:
        """Read one part from the published files, in their order.

        Raises:
            UserError: If a file is missing or is not what was published.
        """
        rows = self._rows(part)
        labels = self._labels(self._published(part))
        return Part(
            image=self._features(part, "img", _IMAGE_SIZE),
            text=self._features(part, "txt", _TEXT_SIZE),
            label=torch.tensor([labels[row] for row in rows]),
            owner=torch.arange(len(rows)),
            image_names=tuple(self._image_names(part)),
            captions=("",) * len(rows),
        )

    def _published(self, part: PartName) -> Literal["train", "test"]:
        """Return the published half that a part is cut from."""
        return "test" if part == "test" else "train"

    def _rows(self, part: PartName) -> Sequence[int]:
        """Return the rows of a part in its published half."""
        half = self._published(part)
        if part == "test" or (part == "train" and self._split == "official-all"):
            return range(_COUNTS[half])
        carved = read_rows("pascal_sentence_dscmr_validation")
        return carved if part == "val" else sorted(set(range(_COUNTS[half])) - set(carved))

    def _image_names(self, part: PartName) -> list[str]:
        return [f"{self._published(part)} row {row}" for row in self._rows(part)]

    def _labels(self, half: Literal["train", "test"]) -> list[int]:
        """Read the class index of each row of a published half."""
        key = f"{half}_img_lab"
        path = find(self.root, f"{key}.mat", _SOURCE)
        labels = read_mat(path, key, (_COUNTS[half], 1), _SOURCE)[:, 0].tolist()
        wrong = [label for label in labels if label not in range(len(self.classes))]
        if wrong:
            raise UserError(f"{path}: labels should be whole numbers from 0 to 19 and one is {wrong[0]}; {_SOURCE}.")
        numbers = [int(label) for label in labels]
        check_labels("pascal_sentence_dscmr_labels", half, numbers, self.classes, path)
        return numbers

    def _features(self, part: PartName, kind: Literal["img", "txt"], size: int) -> torch.Tensor:
        half = self._published(part)
        key = f"{half}_{kind}"
        path = find(self.root, f"{key}.mat", _SOURCE)
        array = read_mat(path, key, (_COUNTS[half], size), _SOURCE)
        return feature_rows(array, self._rows(part), f"{path}: {key}", _SOURCE)
