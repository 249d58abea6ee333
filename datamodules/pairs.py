"""Pairs: the user's own pictures with their texts, listed in one table."""

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import INSTANCE_LEVEL, LABELLED_PAIRS, Protocol
from cmr_lightning.ranges import Checked, CountFromZero, Fraction, Name
from datamodules.base import PartName
from datamodules.facts import Facts
from datamodules.families.listed_data import PARTS, ListedData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.listing import Listing, no_labels
from datamodules.reading.picture_files import Orientation
from datamodules.reading.published_files import find
from datamodules.reading.table_files import Table, TableRow, read_table

_SOURCE = "it is the table of pairs given as data.table, relative to data.root"


@dataclass(frozen=True)
class Columns(Checked):
    """How the columns of the table are called; others may be there and are not read.

    Attributes:
        image: Picture file, relative to the root; slashes or backslashes between folders, in any normal form of
            Unicode.
        text: A text that belongs to the picture.
        label: Class of the picture. Empty to use no labels; a table without a column `label` has none either.
        split: `train`, `val` or `test`, where `val` may be left out, to be drawn from `train`. Empty to draw the whole
            split, as for a table without a column `split`.
    """

    image: Name = "image"
    text: Name = "text"
    label: str = "label"
    split: str = "split"


@dataclass
class _Picture:
    """A picture as the table has it; the place of each text is kept for messages."""

    place: str
    labels: tuple[str, ...]
    split: PartName | None
    texts: dict[str, str] = field(default_factory=dict)


class Pairs(ListedData):
    """Your own pictures with texts, from a table in CSV, JSON lines or Parquet with a row for each pair.

        <root>/<table>          e.g. image,text,label,split
        <root>/<image>          the pictures that the table names

    A picture with several texts has several rows. Where the table has labels, items are relevant to each other when
    they share one, and the data set is measured at class level; without labels a text is relevant to its own picture
    only. Where the table has no splits, pictures are drawn into parts with all their texts, class by class if each has
    one label: those with the smallest SHA-256 of the text `<split_seed>/<image>` are for testing, the next for
    validation, the others for training, whatever the order of the table. Where the table has a test part and no
    validation part, this is drawn from the training part in the same way.

    Pictures are seen upright, as the camera noted in their EXIF data, unless `image` says otherwise.

    Args:
        root: Folder of table and pictures.
        table: The table, ending in `.csv`, `.jsonl` or `.parquet`, relative to `root` or absolute.
        columns: How its columns are called.
        label_separator: What stands between the labels of a picture that may have several, e.g. `;`. None where each
            has one. JSON lines and Parquet may have lists of labels instead.
        val_fraction: Share of the pictures, of each class if each has one label, that a drawn split validates on;
            rounded, at least one. Where the table has a test part alone, share of the others.
        test_fraction: The same of the test part.
        split_seed: Number of the drawn split.
        image: What image encoders are fed with; None for `Pictures()`.
        text: What text encoders are fed with; None for `WordTokens()`.
        **kwargs: Options of `CrossModalData`.

    Raises:
        UserError: If the fractions leave nothing to train on.
    """

    facts = Facts(
        name="pairs",
        title="Pairs: pictures with texts of your own, listed in one table",
        level="by labels or by pair",
        remark="a table of your own",
    )
    orientation: ClassVar[Orientation] = "upright"

    def __init__(
        self,
        root: Name,
        table: Name,
        columns: Columns = Columns(),
        label_separator: Name | None = None,
        val_fraction: Fraction = 0.1,
        test_fraction: Fraction = 0.1,
        split_seed: CountFromZero = 0,
        image: ImageInput | None = None,
        text: TextInput | None = None,
        **kwargs: Any,
    ) -> None:
        if val_fraction + test_fraction >= 1:
            raise UserError(
                f"data.val_fraction is {val_fraction} and data.test_fraction {test_fraction}; their sum must be below "
                f"1."
            )
        super().__init__(root, image, text, **kwargs)
        self.table = table
        self.columns = columns
        self.label_separator = label_separator
        self.val_fraction = val_fraction
        self.test_fraction = test_fraction
        self.split_seed = split_seed

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # known once the table is read
        """Labels of the whole table, sorted; a single class where it has none."""
        return tuple(sorted({label for picture in self._pictures.values() for label in picture.labels})) or ("any",)

    @cached_property
    def protocols(self) -> tuple[Protocol, ...]:  # type: ignore[override]  # known once the table is read
        """Class level with labels, instance level without."""
        return INSTANCE_LEVEL if self._label_column is None else LABELLED_PAIRS

    @property
    def split_name(self) -> str:
        """Column of the table, or how the split was drawn."""
        drawn = f"drawn with seed {self.split_seed}, val {self.val_fraction:g}"
        if self._split_column is None:
            return f"{drawn}, test {self.test_fraction:g}"
        column = f"column {self._split_column} of {self.table}"
        return f"{column}, validation {drawn} of train" if self._lacks_validation else column

    def list_part(self, part: PartName) -> Listing:
        """List one part in the order in which the table first names each picture.

        Raises:
            UserError: If something is wrong with the table; the message names the line.
        """
        pictures = self._names[part]
        texts = [self._pictures[name].texts for name in pictures]
        return Listing(
            pictures=tuple(pictures),
            label=self._labels(part, pictures),
            captions=tuple(text for of_picture in texts for text in of_picture),
            owner=torch.arange(len(pictures)).repeat_interleave(torch.tensor([len(of) for of in texts])),
        )

    def _labels(self, part: PartName, pictures: list[str]) -> Tensor:
        if self._label_column is None:
            return no_labels(len(pictures))
        numbers = {label: number for number, label in enumerate(self.classes)}
        label = torch.zeros(len(pictures), len(numbers))
        for row, name in enumerate(pictures):
            label[row, [numbers[of] for of in self._pictures[name].labels]] = 1
        absent = [self.classes[number] for number in (label.sum(0) == 0).nonzero().flatten().tolist()]
        if absent:
            raise UserError(
                f"{self._path}: no {part} image has the label {', '.join(absent)}; every label needs at least one "
                f"image in each part, so add images, leave the label out, or split otherwise."
            )
        return label if self._multi_label else label.argmax(1)

    @cached_property
    def _names(self) -> dict[PartName, list[str]]:
        """Pictures of each part, in the order of the table."""
        of: Mapping[str, PartName | None] = {name: picture.split for name, picture in self._pictures.items()}
        if self._split_column is None:
            of = self._drawn(list(of), {"test": self.test_fraction, "val": self.val_fraction})
        elif self._lacks_validation:
            train = [name for name, part in of.items() if part == "train"]
            of = {**of, **self._drawn(train, {"val": self.val_fraction})}
        parts = {part: [name for name in self._pictures if of[name] == part] for part in PARTS}
        for part, pictures in parts.items():
            if not pictures:
                raise UserError(
                    f"{self._path}: no row has {part} in the column {self._split_column}; give each of "
                    f"{', '.join(PARTS)} some rows, or set data.columns.split to '' to have the split drawn."
                )
        return parts

    @cached_property
    def _lacks_validation(self) -> bool:
        return {picture.split for picture in self._pictures.values()} == {"train", "test"}

    def _drawn(self, names: list[str], shares: Mapping[PartName, float]) -> dict[str, PartName]:
        """Draw the part of each picture: a share of each class for each part that is named, the others for training."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for name in names:
            groups.setdefault(() if self._multi_label else self._pictures[name].labels, []).append(name)
        drawn: dict[str, PartName] = {}
        for labels, members in groups.items():
            counts = {part: max(1, round(share * len(members))) for part, share in shares.items()}
            if sum(counts.values()) >= len(members):
                what = f"the label {labels[0]}" if labels else "the table"
                beside = " and ".join(f"{count} for {part}" for part, count in counts.items())
                raise UserError(
                    f"{self._path}: {what} has only {len(members)} images to draw from, which leaves none to train on "
                    f"beside {beside}; add images, or leave the label out."
                )
            ordered = sorted(members, key=lambda name: hashlib.sha256(f"{self.split_seed}/{name}".encode()).digest())
            for part, count in counts.items():
                drawn |= dict.fromkeys(ordered[:count], part)
                ordered = ordered[count:]
            drawn |= dict.fromkeys(ordered, "train")
        return drawn

    @cached_property
    def _pictures(self) -> dict[str, _Picture]:
        """All pictures by their path, in the order of the table."""
        pictures: dict[str, _Picture] = {}
        for row in self._table.rows:
            where = f"{self._path}, {row.place}"
            text = _text(row, self.columns.text, where)
            name = _text(row, self.columns.image, where)
            if not name or not text:
                lacks = f"the text of {name} is empty" if name else f"the text {text[:40]!r} has no image path"
                raise UserError(f"{where}: {lacks}; write it or remove the row.")
            name = unicodedata.normalize("NFC", PurePosixPath(name.replace("\\", "/")).as_posix())
            new = _Picture(row.place, self._labels_in(row, where), self._split_in(row, where))
            picture = pictures.setdefault(name, new)
            if picture.split != new.split:
                raise UserError(
                    f"{where}: {name} is in {new.split} here and in {picture.split} in {picture.place}; all texts of "
                    f"an image must be in the same part."
                )
            if picture.labels != new.labels:
                raise UserError(
                    f"{where}: {name} has the label {', '.join(new.labels)} here and {', '.join(picture.labels)} in "
                    f"{picture.place}; write the same in all rows of an image."
                )
            if text in picture.texts:
                raise UserError(f"{where}: the same image and text as in {picture.texts[text]}; remove one of them.")
            picture.texts[text] = row.place
        return pictures

    def _labels_in(self, row: TableRow, where: str) -> tuple[str, ...]:
        if self._label_column is None:
            return ()
        cell = row.cells.get(self._label_column)
        if isinstance(cell, str) and self.label_separator is not None:
            cell = cell.split(self.label_separator)
        found = cell if isinstance(cell, list) else [cell]
        wrong = [label for label in found if not isinstance(label, str | int | None)]
        if wrong:
            raise UserError(f"{where}: a label should be text or a whole number and is {wrong[0]!r}.")
        labels = {str(label).strip() for label in found if label is not None} - {""}
        if not labels:
            raise UserError(
                f"{where}: no label in the column {self._label_column}; every row needs one, or set data.columns.label "
                f"to '' to use none."
            )
        return tuple(sorted(labels))

    def _split_in(self, row: TableRow, where: str) -> PartName | None:
        if self._split_column is None:
            return None
        name = _text(row, self._split_column, where)
        if name not in PARTS:
            raise UserError(f"{where}: the split is {name!r}, but must be one of {', '.join(PARTS)}.")
        return PARTS[PARTS.index(name)]

    @cached_property
    def _multi_label(self) -> bool:
        cells = (row.cells.get(self._label_column) for row in self._table.rows if self._label_column is not None)
        return self.label_separator is not None or any(isinstance(cell, list) for cell in cells)

    @cached_property
    def _label_column(self) -> str | None:
        return self.columns.label if self.columns.label in filter(None, self._table.columns) else None

    @cached_property
    def _split_column(self) -> str | None:
        return self.columns.split if self.columns.split in filter(None, self._table.columns) else None

    @cached_property
    def _table(self) -> Table:
        table = read_table(self._path, set(asdict(self.columns).values()))
        for key, column in asdict(self.columns).items():
            usual = ("", key) if key in ("label", "split") else ()  # the table may lack these, unless they were named
            if column not in (*table.columns, *usual):
                there = ", ".join(table.columns)
                remedy = f"set data.columns.{key} to the one that holds it"
                raise UserError(f"{self._path} has no column {column}, only {there}; {remedy}.")
        return table

    @cached_property
    def _path(self) -> Path:
        return find(self.root, str(Path(self.table).expanduser()), _SOURCE)


def _text(row: TableRow, column: str, where: str) -> str:
    """Return a cell that holds text, without spaces around it; empty where the row lacks it."""
    cell = row.cells.get(column)
    if not isinstance(cell, str | None):
        raise UserError(f"{where}: the column {column} should hold text and holds {cell!r}.")
    return (cell or "").strip()
