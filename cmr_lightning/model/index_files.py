"""The folder of an index: what is in which file.

    index.json                     the manifest: which model, how far, and the shards, in their order
    images/rows-<checksum>.npy     points of pictures, (N, D) float32, of unit length where the distance is `cos`
    images/rows-<checksum>.jsonl   the same pictures in words, one a line; its checksum is the name of both files
    images/approximate.faiss       an approximate index, which can be deleted
    texts/...                      the same of texts
    thumbnails/ab/<sha256>.jpg     small pictures, by the checksum of their content

Every file is whole or not there, a shard never changes, and the manifest is written last: an index that is being
brought up to date can be searched, and an update that was killed goes on with the shards that it had written.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate, islice
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from cmr_lightning.errors import UserError
from cmr_lightning.files.json_file import read_json
from cmr_lightning.files.whole_file import write_whole

FORMAT = 1
MANIFEST = "index.json"
THUMBNAILS = "thumbnails"
APPROXIMATE = "approximate.faiss"

Kind = Literal["images", "texts"]
KINDS: tuple[Kind, ...] = ("images", "texts")


@dataclass(frozen=True)
class Item:
    """One picture or text of an index.

    Attributes:
        id: Its name.
        path: Its file relative to the root of the index, or that of a text's picture; empty where there is none.
        caption: The texts of a picture, one a line, or the text itself.
        size: Bytes of the file, or of what was embedded.
        mtime: When the file was last changed, nanoseconds; 0 where it is in none.
        sha256: Checksum of the file's content, or of what was embedded.
    """

    id: str
    path: str
    caption: str
    size: int
    mtime: int
    sha256: str

    def line(self) -> str:
        """Return the item as a line of JSON."""
        return json.dumps(vars(self)) + "\n"  # in ASCII, as names of files may hold halves of characters


@dataclass(frozen=True)
class Shard:
    """A file of points: its name and number of rows."""

    name: Annotated[str, Field(pattern=r"^rows-[0-9a-f]{16}$")]
    count: Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class Approximate:
    """An index of FAISS beside the points, and what share of the nearest items it finds.

    Attributes:
        description: What FAISS calls it.
        parameters: How much of it is searched.
        recall: Share of the `k` nearest that it finds, 0 to 1.
        k: Items looked for when that was measured.
        queries: What was looked for then, in words.
    """

    description: str
    parameters: str
    recall: float
    k: int
    queries: str


@dataclass(frozen=True)
class Gallery:
    """The pictures, or the texts, of an index."""

    shards: tuple[Shard, ...]
    approximate: Approximate | None = None

    @property
    def count(self) -> int:
        """Number of items."""
        return sum(shard.count for shard in self.shards)


@dataclass(frozen=True)
class ModelFacts:
    """The model that made an index.

    Attributes:
        path: Where it was; empty for one that was in memory only.
        method: Its method.
        checksum: Checksum of its weights.
        preprocessing: How it prepares pictures and texts, in words.
    """

    path: str
    method: str
    checksum: str
    preprocessing: dict[str, str]


@dataclass(frozen=True)
class Damaged:
    """A picture that could not be read, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Manifest:
    """What an index holds.

    Attributes:
        format: Version of this layout.
        model: The model.
        distance: `cos` or `l2`.
        dim: Numbers D of a point.
        root: Folder to which paths of items are relative; empty where they are in no files.
        galleries: Pictures and texts.
        damaged: Pictures that were left out.
    """

    format: int
    model: ModelFacts
    distance: Literal["cos", "l2"]
    dim: Annotated[int, Field(ge=1)]
    root: str
    galleries: dict[Kind, Gallery]
    damaged: tuple[Damaged, ...] = field(default=())

    def write(self, folder: Path) -> None:
        """Write it, whole."""
        write_whole(folder / MANIFEST, json.dumps(asdict(self), indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """Read what an index holds.

    Raises:
        UserError: If there is no index, it is damaged, or another version wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise UserError(
            f"{folder} is no index; `python -m cmr_lightning index MODEL ITEMS --output {folder}` makes one."
        )
    manifest = read_json(path, Manifest, f"delete the folder {folder} and index again")
    if manifest.format != FORMAT:
        raise UserError(f"{path} is of format {manifest.format}, and this version reads {FORMAT}; index again.")
    return manifest


def thumbnail_file(folder: Path, sha256: str) -> Path:
    """Return where the small picture of a content is."""
    return folder / THUMBNAILS / sha256[:2] / f"{sha256}.jpg"


def read_items(file: Path) -> Iterator[Item]:
    """Read the items of a shard.

    Raises:
        UserError: If the file is missing or damaged.
    """
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield parse_item(line, f"{file}, line {number}")
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}); delete the folder of the index and index again."
        ) from error


def parse_item(line: bytes, place: str) -> Item:
    """Read an item from its line; a `place` is for the message."""
    try:
        return Item(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise UserError(f"{place} is damaged ({error}); delete the folder of the index and index again.") from error


class Points:
    """The points of a gallery `(N, D)`, mapped from their shards: no more than a shard is in memory.

    Args:
        folder: Folder of the shards.
        shards: Which of them, in this order.
        dim: D.
    """

    def __init__(self, folder: Path, shards: Sequence[Shard], dim: int) -> None:
        self.folder = folder
        self.shards = shards
        self.dim = dim
        self._first = [0, *accumulate(shard.count for shard in shards)]

    def __len__(self) -> int:
        return self._first[-1]

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        return len(self), self.dim

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[np.float32]:
        """Copy a range of rows, or rows that rise."""
        wanted = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        found = np.empty((len(wanted), self.dim), dtype=np.float32)
        for number, first in enumerate(self._first[:-1]):
            low, high = np.searchsorted(wanted, [first, self._first[number + 1]])
            if low < high:
                found[low:high] = self._shard(number)[wanted[low:high] - first]
        return found

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the number of the first row of each shard, and its rows; a block overwrites the one before.

        Shards are read into one buffer, as reading all of a map takes twice as long: it faults on every page.
        """
        buffer = np.empty((max(shard.count for shard in self.shards), self.dim), dtype=np.float32)
        for number, first in enumerate(self._first[:-1]):
            shard = self.shards[number]
            block = buffer[: shard.count]
            read_shard(self.folder / f"{shard.name}.npy", block)
            yield first, block

    def items(self, rows: Sequence[int]) -> dict[int, Item]:
        """Read the items of some rows."""
        wanted: dict[int, list[int]] = {}
        for row in sorted(set(rows)):
            wanted.setdefault(bisect_right(self._first, row) - 1, []).append(row)
        found = {}
        for number, of_shard in wanted.items():
            file, first = self.folder / f"{self.shards[number].name}.jsonl", self._first[number]
            with file.open("rb") as lines:
                last = first
                for row in of_shard:
                    line = next(islice(lines, row - last, None), b"")
                    found[row] = parse_item(line, f"{file}, line {row - first + 1}")
                    last = row + 1
        return found

    def _shard(self, number: int) -> NDArray[np.float32]:
        """Map a shard; it is mapped for as long as it is used, as a process may have few files open."""
        shard = self.shards[number]
        return map_shard(self.folder / f"{shard.name}.npy", (shard.count, self.dim))


def map_shard(file: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Map the file of a shard.

    Raises:
        UserError: If it is missing, or is not what the manifest says.
    """
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="c", allow_pickle=False)  # torch wants arrays that it might write
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete the folder of the index and index again.") from error
    _check_form(file, array.shape, array.dtype, shape)
    return array


def read_shard(file: Path, out: NDArray[np.float32]) -> None:
    """Read the file of a shard into an array.

    Raises:
        UserError: As `map_shard`.
    """
    try:
        with file.open("rb") as content:
            np.lib.format.read_magic(content)
            found, columns_first, dtype = np.lib.format.read_array_header_1_0(content)
            _check_form(file, found, dtype, out.shape)
            if columns_first or content.readinto(out.data.cast("B")) != out.nbytes:
                raise ValueError("it is not as `index` writes it, or was cut short")
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete the folder of the index and index again.") from error


def _check_form(file: Path, shape: tuple[int, ...], dtype: np.dtype, expected: tuple[int, ...]) -> None:
    if shape != expected or dtype != np.float32:
        raise UserError(f"{file} holds {dtype} of shape {shape}, and not float32 of {expected}; index again.")
