"""What an index is made of: the pictures and texts of a folder, of a table, or of one part of a data set."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from cmr_lightning.batch import Features
from cmr_lightning.errors import UserError
from datamodules import CrossModalData
from datamodules.base import PartName
from datamodules.families.listed_data import ListedData
from datamodules.reading.content import Content, form, size, take
from datamodules.reading.loaders import Part
from datamodules.reading.picture_files import picture_suffixes
from datamodules.reading.published_files import on_disk
from datamodules.reading.table_files import TableRow, read_table

_SKIPPED = ("node_modules",)  # hidden folders, such as .git, are skipped as well
_BLOCK = 256
"""Rows of a part that are read at once."""


@dataclass(frozen=True)
class Candidate:
    """A picture or text that is to be indexed.

    Attributes:
        id: Its name in the index.
        content: What the model embeds: a picture file, a picture `(H, W, 3)` uint8, features, or a text.
        path: Its file relative to the root of the items, `/` between folders; empty where it is in none.
        caption: The texts of a picture, one a line, or a text itself.
        shown: The picture to look at, where `content` is none; None where there is none.
    """

    id: str
    content: Path | str | NDArray[Any]
    path: str = ""
    caption: str = ""
    shown: Path | NDArray[np.uint8] | None = None


class IndexItems(Protocol):
    """Pictures and texts, each in an order that is always the same."""

    @property
    def root(self) -> str:
        """The folder to which paths are relative; empty if there is none."""

    def pictures(self) -> Iterator[Candidate]:
        """List the pictures."""

    def texts(self) -> Iterator[Candidate]:
        """List the texts."""


def items_of(path: Path, index: Path, root: Path | None = None) -> "FolderItems | TableItems":
    """Return the items of a folder, or of a table; see there.

    Args:
        path: The folder, or the table.
        index: Folder of the index, which is left out.
        root: Folder of the pictures of a table; None for that of the table.

    Raises:
        UserError: If it is neither, or holds no items.
    """
    path = path.expanduser()
    if path.is_dir():
        return FolderItems(path, index)
    if path.is_file():
        return TableItems(path, root)
    raise UserError(f"There is neither a folder nor a table {path}.")


class FolderItems:
    """The picture files in a folder and in the folders below it, hidden ones left out.

    Args:
        folder: The folder.
        without: A folder below it that is left out, such as that of the index.

    Raises:
        UserError: If there is no picture.
    """

    def __init__(self, folder: Path, without: Path | None = None) -> None:
        self.folder = folder.expanduser().resolve()
        self._without = None if without is None else without.resolve()
        if next(self.pictures(), None) is None:
            raise UserError(f"There are no pictures in the folder {folder}, nor in folders below it.")

    @property
    def root(self) -> str:
        """The folder."""
        return str(self.folder)

    def pictures(self) -> Iterator[Candidate]:
        """List the pictures, folder by folder."""
        suffixes = picture_suffixes()
        for folder, folders, names in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if self._is_searched(folder, name))
            for name in sorted(names):
                path = Path(folder, name)
                if path.suffix.lower() in suffixes and not name.startswith("."):
                    relative = path.relative_to(self.folder).as_posix()
                    yield Candidate(relative, path, relative)

    def texts(self) -> Iterator[Candidate]:
        """List nothing."""
        return iter(())

    def _is_searched(self, folder: str, name: str) -> bool:
        return not name.startswith(".") and name not in _SKIPPED and Path(folder, name) != self._without


class TableItems:
    """The pictures and texts of a table in CSV, JSON lines or Parquet with columns `image`, `text`, or both.

    A picture that is in several rows is indexed once, with the texts of all of them.

    Args:
        table: The table.
        root: Folder that its paths are relative to; None for that of the table.

    Raises:
        UserError: If the table cannot be read, has neither column, or a cell holds something else than text.
    """

    def __init__(self, table: Path, root: Path | None = None) -> None:
        table = table.expanduser()
        self._root = (table.parent if root is None else root.expanduser()).resolve()
        columns, rows = read_table(table, ("image", "text"))
        if not {"image", "text"} & set(columns):
            raise UserError(f"{table} has neither a column image nor a column text, only {', '.join(columns)}.")
        self._texts: dict[str, list[str]] = {}
        for row in rows:
            picture, text = (_cell(row, column, table) for column in ("image", "text"))
            name = unicodedata.normalize("NFC", PurePosixPath(picture.replace("\\", "/")).as_posix()) if picture else ""
            of_picture = self._texts.setdefault(name, [])
            if text:
                of_picture.append(text)

    @property
    def root(self) -> str:
        """The folder of the pictures."""
        return str(self._root)

    def pictures(self) -> Iterator[Candidate]:
        """List the pictures in the order in which the table first names them."""
        for name, texts in self._texts.items():
            if name:
                yield Candidate(name, on_disk(self._root, name), name, "\n".join(texts))

    def texts(self) -> Iterator[Candidate]:
        """List the texts, picture by picture."""
        for name, texts in self._texts.items():
            for number, text in enumerate(texts):
                yield Candidate(f"{name}#{number}", text, name, text)


def _cell(row: TableRow, column: str, table: Path) -> str:
    cell = row.cells.get(column)
    if not isinstance(cell, str | None):
        raise UserError(f"{table}, {row.place}: the column {column} should hold text and holds {cell!r}.")
    return (cell or "").strip()


class PartItems:
    """The pictures and texts of one part of a data set, as the encoders of a model see them."""

    def __init__(self, data: CrossModalData, part: PartName) -> None:
        self._data = data
        self._name: PartName = part
        self._part: Part = data.part(part)
        self._composed = data.task == "composed"

    @property
    def root(self) -> str:
        """The folder of the data set, if its pictures are files."""
        return str(self._data.root.resolve()) if isinstance(self._data, ListedData) else ""

    def pictures(self) -> Iterator[Candidate]:
        """List the pictures, with their captions."""
        captions, content = self._captions(), _rows(self._part.image)
        of_features = isinstance(form(self._part.image), Features)
        for row, name in enumerate(self._part.image_names):
            path, file = self._file(row)
            if of_features:
                shown = file if file is not None and file.is_file() else self._data.picture(self._name, row)
                yield Candidate(name, next(content), path, captions[row], shown)
            elif file is not None:
                yield Candidate(name, file, path, captions[row])
            else:
                yield Candidate(name, next(content).transpose(1, 2, 0), path, captions[row])

    def texts(self) -> Iterator[Candidate]:
        """List the texts; none of a composed data set, whose texts are half a query."""
        if self._composed:
            return
        text = self._part.text
        features = _rows(text) if isinstance(self._data.spec.text, Features) else None
        for row, owner in enumerate(self._part.owner.tolist()):
            caption = self._part.captions[row]
            content = caption if features is None else next(features)
            yield Candidate(f"{self._part.image_names[owner]}#{row}", content, self._file(owner)[0], caption)

    def _captions(self) -> Sequence[str]:
        of_picture: list[list[str]] = [[] for _ in self._part.image_names]
        for caption, owner in zip(self._part.captions, self._part.owner.tolist(), strict=True):
            if not self._composed and caption:
                of_picture[owner].append(caption)
        return ["\n".join(captions) for captions in of_picture]

    def _file(self, row: int) -> tuple[str, Path | None]:
        """Return the path of a picture and its file, if the data set lists files."""
        if not isinstance(self._data, ListedData):
            return "", None
        name = self._data.listing(self._name).pictures[row]
        return name, on_disk(self._data.root, name)


def _rows(content: Content) -> Iterator[NDArray]:
    """Yield the rows of a content."""
    for start in range(0, size(content), _BLOCK):
        block: Any = take(content, torch.arange(start, min(start + _BLOCK, size(content))))
        yield from block.numpy()
