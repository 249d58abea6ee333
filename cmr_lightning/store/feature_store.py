"""A feature store: rows of numbers on disk, written shard by shard and read by row.

A store is a folder:

    manifest.json      what the rows are: `Manifest`; finished when the last shard is there, with checksums of all
    rows.json          `ids`, the name of each row, and `checks`, what it was made of: `Rows`
    rows-00000.npy     the first shard `(R, D)`, or `(R, turns, D)` of pictures seen at several rotations
    rows-00001.npy     ...
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import ConfigDict, Field
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.files.checksum import sha256_of, short_checksum
from cmr_lightning.files.json_file import parse_json, read_json

Dtype = Literal["float16", "float32"]

MANIFEST = "manifest.json"
ROWS = "rows.json"
_MOST = 2**30

Size = Annotated[int, Field(ge=1, le=_MOST)]
"""Rows of a store, or numbers of a row; shards of a manifest that says more would not be counted in a lifetime."""

_SHARDS = 16
"""Shards of a store of middle size: a random batch visits nearly all, and a process that dies loses one of them."""
_LEAST_ROWS, _MOST_ROWS = 64, 8192
"""Rows of a shard in small and in large stores; with 8192, a thousand open files hold eight million rows."""


@dataclass(frozen=True)
class Manifest:
    """Description of a store; two stores with the same manifest hold the same rows.

    Attributes:
        encoder: Name and arguments of the encoder.
        weights: Checksum of its weights.
        preprocessing: What happens to pictures or texts before they are encoded.
        precision: Type of the numbers that the encoder computes with.
        data: Checksum of the rows' names and of what they were made of.
        dtype: Type of the numbers that are kept.
        shape: Rows and their size, `(N, D)` or `(N, turns, D)`.
        finished: Whether all rows are there.
        checksums: SHA-256 of each shard, once all are there.

    Examples:
        >>> Manifest("VGG", "0f", "crop 224", "32", "1a", "float16", (150, 4096)).shards()
        [range(0, 64), range(64, 128), range(128, 150)]
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    encoder: str
    weights: str
    preprocessing: str
    precision: str
    data: str
    dtype: Dtype
    shape: Annotated[tuple[Size, ...], Field(min_length=2, max_length=3)]
    finished: bool = False
    checksums: tuple[str, ...] = ()

    def shards(self) -> list[range]:
        """Divide the rows into shards of the same size, of which the last one may have fewer."""
        count = self.shape[0]
        step = min(max(-(-count // _SHARDS), _LEAST_ROWS), _MOST_ROWS)
        return [range(first, min(first + step, count)) for first in range(0, count, step)]


@dataclass(frozen=True)
class Rows:
    """The rows of a store: picture files relative to the root of their data set, or texts.

    Attributes:
        ids: The names of the files, or the texts.
        checks: What changes when a picture does, see `image_check`; nothing for texts.
    """

    ids: Sequence[str]
    checks: Sequence[str] = ()

    def content(self) -> bytes:
        """Return the rows as a store keeps them."""
        return as_json({"ids": list(self.ids), "checks": list(self.checks)})

    def checksum(self) -> str:
        """Return the first 16 hexadecimal digits of the SHA-256 of names and checks.

        Examples:
            >>> Rows(["a.jpg"], ["812"]).checksum() == Rows(["a.jpg"], ["813"]).checksum()
            False
        """
        return short_checksum(self.content())


def image_check(path: Path) -> str:
    """Return what changes when a picture file is exchanged; reading every byte of every picture would take too long."""
    return str(path.stat().st_size)


class FeatureStore:
    """A finished store, read by row from memory maps.

    Raises:
        UserError: If there is no store, or it is not finished, or a file of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        if not self.manifest.finished:
            raise UserError(
                f"The feature store {folder} is not finished; run the `extract` command that began it again, which "
                f"continues where it stopped."
            )
        self.ids, self.checks = _read_rows(folder, self.manifest)
        self._row = {name: row for row, name in enumerate(self.ids)}
        ranges = self.manifest.shards()
        for path, checksum in zip(shard_files(folder, self.manifest), self.manifest.checksums, strict=True):
            if path.is_file() and sha256_of(path) != checksum:
                raise _damaged(folder, f"{path} does not have the checksum of the manifest")
        self._rows_per_shard = len(ranges[0])
        self._shards = [self._map(number, rows) for number, rows in enumerate(ranges)]

    @property
    def size(self) -> int:
        """Numbers D of a row."""
        return self.manifest.shape[-1]

    @property
    def turns(self) -> int:
        """Rotations at which each picture was seen, 1 or 4."""
        return self.manifest.shape[1] if len(self.manifest.shape) == 3 else 1

    def numbers(self, ids: Sequence[str]) -> Tensor:
        """Find the row of each name, `(len(ids),)` int64, -1 where there is none."""
        return torch.tensor([self._row.get(name, -1) for name in ids], dtype=torch.int64)

    def read(self, numbers: Tensor, turned: bool = False) -> Tensor:
        """Copy rows `numbers` `(N,)` out of the memory maps, rising; a row may occur more than once.

        Returns:
            Upright pictures or texts `(N, D)`, or all rotations `(N, turns, D)` if `turned`; float32, in the order
            asked for.
        """
        rising, order = numbers.sort()
        shape = self.manifest.shape[1:] if turned else (self.size,)
        read = torch.empty(len(numbers), *shape, dtype=getattr(torch, self.manifest.dtype))
        shards = rising.div(self._rows_per_shard, rounding_mode="floor")
        visited, counts = shards.unique_consecutive(return_counts=True)
        ends = [0, *counts.cumsum(0).tolist()]
        within = rising - shards * self._rows_per_shard
        for shard, (first, last) in zip(visited.tolist(), pairwise(ends), strict=True):
            rows = self._shards[shard]
            source = rows if turned or rows.ndim == 2 else rows[:, 0]
            torch.index_select(source, 0, within[first:last], out=read[first:last])
        return read.index_select(0, order.argsort()).float()  # indexing by brackets takes four times as long

    def fingerprint(self) -> str:
        """Return what changes when the rows do."""
        made = {key: value for key, value in asdict(self.manifest).items() if key != "checksums"}
        return hashlib.sha256(as_json(made)).hexdigest()

    def _map(self, number: int, rows: range) -> Tensor:
        path = shard_file(self.folder, number)
        expected = (len(rows), *self.manifest.shape[1:])
        try:
            array = np.load(path, mmap_mode="c")  # copy on write: torch wants arrays that it might write to
        except (OSError, ValueError) as error:
            raise _damaged(self.folder, f"{path} cannot be read ({error})") from error
        if array.shape != expected or array.dtype != self.manifest.dtype:
            found = f"{array.dtype} of shape {array.shape}"
            raise _damaged(self.folder, f"{path} should hold {self.manifest.dtype} of shape {expected}, not {found}")
        return torch.from_numpy(array)


def places_of_stores(root: Path, folder: str) -> list[Path]:
    """List where the stores of a data set may be; `extract` writes into the first place, and never beside the data.

    Args:
        root: Folder of the data set.
        folder: Name of a folder in `runs` of the working directory, by data sets, and in `root`; or an absolute path.

    Examples:
        >>> [str(place) for place in places_of_stores(Path("/data/wikipedia"), "features")]
        ['runs/features/wikipedia', '/data/wikipedia/features']
    """
    given = Path(folder).expanduser()
    return [given] if given.is_absolute() else [Path("runs", given, root.absolute().name), root / given]


def shard_file(folder: Path, number: int) -> Path:
    """Return the file of a shard."""
    return folder / f"rows-{number:05d}.npy"


def shard_files(folder: Path, manifest: Manifest) -> list[Path]:
    """List the files of all shards."""
    return [shard_file(folder, number) for number in range(len(manifest.shards()))]


def as_json(content: dict[str, Any]) -> bytes:
    """Encode what a store keeps in addition to its shards."""
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(folder: Path) -> Manifest:
    """Read what the rows of a store are.

    Raises:
        UserError: If there is no store, or its manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise UserError(f"There is no feature store {folder}; `python -m cmr_lightning extract` makes one.")
    manifest = read_json(path, Manifest, f"delete the folder {folder} and extract again")
    if manifest.finished and len(manifest.checksums) != len(manifest.shards()):
        raise _damaged(folder, f"{path} lacks the checksums of the shards")
    return manifest


def _read_rows(folder: Path, manifest: Manifest) -> tuple[Sequence[str], Sequence[str]]:
    path = folder / ROWS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(folder, f"{path} cannot be read ({error})") from error
    if short_checksum(content) != manifest.data:
        raise _damaged(folder, f"{path} does not have the checksum of the manifest")
    rows = parse_json(content, Rows, f"{path}", f"delete the folder {folder} and extract again")
    if len(rows.ids) != manifest.shape[0]:
        raise _damaged(folder, f"{path} names {len(rows.ids)} rows, and {MANIFEST} says {manifest.shape[0]}")
    return rows.ids, rows.checks


def _damaged(folder: Path, fault: str) -> UserError:
    return UserError(f"{fault}; delete the folder {folder} and extract again.")
