"""A feature store: rows of numbers on disk, written shard by shard and read by row.

A store is a folder:

    manifest.json      what the rows are: `Manifest`; `finished` turns true when the last shard is there
    rows.json          `ids`, the name of each row, and `checks`, what it was made of: `Rows`
    rows-00000.npy     the first shard `(R, D)`, or `(R, turns, D)` of pictures seen at several rotations
    rows-00001.npy     ...

Every file is written under another name first and then renamed, so a file that is there is whole. A process that died
leaves its shards behind, and the next one goes on with those that are missing. Several processes may fill a store at
the same time: each takes the next shard that nobody works on. Nothing in the files depends on when, by how many, or
after how many interruptions they were written.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.errors import UserError, system_reason
from cmr_lightning.files.whole_file import whole_file

Dtype = Literal["float16", "float32"]

_MANIFEST = "manifest.json"
_ROWS = "rows.json"
_LOCK = "lock"
_SHARDS = 16
"""Shards of a store of middle size: a random batch visits nearly all, and a process that dies loses one of them."""
_LEAST_ROWS, _MOST_ROWS = 64, 8192
"""Rows of a shard in small and in large stores; with 8192, a thousand open files hold eight million rows."""


@dataclass(frozen=True)
class Manifest:
    """What the rows of a store are; two stores with the same manifest hold the same rows.

    Attributes:
        encoder: Name and arguments of the encoder.
        weights: Checksum of its weights.
        preprocessing: What happens to pictures or texts before they are encoded.
        precision: Numbers that the encoder computes with.
        data: Checksum of the rows' names and of what they were made of.
        dtype: Numbers that are kept.
        shape: Rows and their size, `(N, D)` or `(N, turns, D)`.
        finished: Whether all rows are there.
    """

    encoder: str
    weights: str
    preprocessing: str
    precision: str
    data: str
    dtype: Dtype
    shape: tuple[int, ...]
    finished: bool = False

    def shards(self) -> list[range]:
        """The rows of each shard; all shards have the same number of rows, the last one perhaps fewer."""
        count = self.shape[0]
        step = min(max(-(-count // _SHARDS), _LEAST_ROWS), _MOST_ROWS)
        return [range(first, min(first + step, count)) for first in range(0, count, step)]


@dataclass(frozen=True)
class Rows:
    """Names of the rows of a store.

    Attributes:
        ids: A picture's file relative to the root of its data set; of a text, the text itself.
        checks: What changes when a picture does, its size in bytes; of texts, nothing.
    """

    ids: Sequence[str]
    checks: Sequence[str] = ()

    def content(self) -> bytes:
        """The rows as a store keeps them."""
        return _json({"ids": list(self.ids), "checks": list(self.checks)})

    def checksum(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of names and checks."""
        return hashlib.sha256(self.content()).hexdigest()[:16]


def image_check(path: Path) -> str:
    """What changes when a picture file is exchanged: reading every byte of every picture would take too long."""
    return str(path.stat().st_size)


class StoreWriter:
    """Fills a store with its missing shards.

    Used as a context: at its end the shards that were claimed and not written are free for others again.

    Args:
        folder: Where the store is, or will be.
        rows: What the rows are made of.
        manifest: What the rows are.

    Raises:
        UserError: If the folder holds a store that was made with other settings, or is damaged, or nothing can be
            written there.
    """

    def __init__(self, folder: Path, rows: Rows, manifest: Manifest) -> None:
        self.folder = folder
        self.rows = rows
        self.manifest = manifest
        self.shards = manifest.shards()
        self._lock: io.BufferedRandom | None = None
        if self._is_finished():
            FeatureStore(folder)  # says whether a file was lost or damaged since
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / _LOCK).open("a+b")
        except OSError as error:
            raise _not_written(folder, error) from error
        with self._alone(self._lock):
            if not (folder / _MANIFEST).exists():
                _write(folder / _ROWS, rows.content())
                _write(folder / _MANIFEST, _json(asdict(manifest)))
        self._is_finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def missing(self) -> list[range]:
        """The rows of the shards that are not there."""
        return [rows for number, rows in enumerate(self.shards) if not _shard(self.folder, number).exists()]

    def claims(self) -> Iterator[range]:
        """The rows of one missing shard after the other, each promised to this process alone.

        The promise is a lock on one byte of a file, which the system takes back from a process that dies.
        """
        for number, rows in enumerate(self.shards):
            if self._is_free(number):
                yield rows

    def write(self, rows: range, features: Tensor) -> None:
        """Put a claimed shard into the store.

        Args:
            rows: The rows, as claimed.
            features: `(len(rows), D)` or `(len(rows), turns, D)`.

        Raises:
            UserError: If a number is not finite in the numbers of the store, or the disk is full.
        """
        array = features.to("cpu", getattr(torch, self.manifest.dtype)).numpy()
        finite = np.isfinite(array).reshape(len(array), -1).all(1)
        if not finite.all():
            name = self.rows.ids[rows[int(np.flatnonzero(~finite)[0])]]
            raise UserError(
                f"The encoder makes NaN or infinite numbers of {name}, or numbers too large for {self.manifest.dtype}; "
                f"set dtype to float32, and precision to 32."
            )
        buffer = io.BytesIO()  # NumPy's own writing hides that the disk is full
        np.save(buffer, array)
        _write(_shard(self.folder, self.shards.index(rows)), buffer.getbuffer())

    def finish(self) -> bool:
        """Mark the store as finished if no shard is missing; otherwise other processes are still at work."""
        if self.missing():
            return False
        if self._lock is not None:
            with self._alone(self._lock):
                if not self._is_finished():  # another was first, whose lock file may be gone by now
                    _write(self.folder / _MANIFEST, _json(asdict(replace(self.manifest, finished=True))))
                (self.folder / _LOCK).unlink(missing_ok=True)
        return True

    def _is_finished(self) -> bool:
        if not (self.folder / _MANIFEST).exists():
            return False
        theirs = _read_manifest(self.folder)
        for field in fields(Manifest):
            made, asked = getattr(theirs, field.name), getattr(self.manifest, field.name)
            if field.name != "finished" and made != asked:
                raise UserError(
                    f"The feature store {self.folder} was made with other settings: {field.name} is {made} there, and "
                    f"{asked} is asked for; give the new store another name, or delete the folder."
                )
        return theirs.finished

    @contextmanager
    def _alone(self, lock: io.BufferedRandom) -> Iterator[None]:
        """Inside, no other process writes the manifest: its lock is on the byte behind those of the shards."""
        fcntl.lockf(lock, fcntl.LOCK_EX, 1, len(self.shards))
        try:
            yield
        finally:
            fcntl.lockf(lock, fcntl.LOCK_UN, 1, len(self.shards))

    def _is_free(self, number: int) -> bool:
        path = _shard(self.folder, number)
        if path.exists():
            return False
        assert self._lock is not None
        try:
            fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # another process works on it
            return False
        return not path.exists()  # it may have been finished between the two questions


class FeatureStore:
    """A finished store, read by row from memory maps.

    Args:
        folder: Where the store is.

    Raises:
        UserError: If there is no store, or it is not finished, or a file of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _read_manifest(folder)
        if not self.manifest.finished:
            raise UserError(
                f"The feature store {folder} is not finished; run the `extract` command that began it again, it goes "
                f"on where it stopped."
            )
        self.ids, self.checks = _read_rows(folder, self.manifest)
        self._row = {name: row for row, name in enumerate(self.ids)}
        ranges = self.manifest.shards()
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
        """Row of each name, `(len(ids),)` int64, -1 where there is none."""
        return torch.tensor([self._row.get(name, -1) for name in ids], dtype=torch.int64)

    def read(self, numbers: Tensor, turned: bool = False) -> Tensor:
        """Some rows, copied out of the memory maps in rising order.

        Args:
            numbers: Rows `(N,)`, int64; a row may occur more than once.
            turned: Whether all rotations are wanted, or upright pictures only.

        Returns:
            `(N, D)`, or `(N, turns, D)` where all rotations are wanted; float32, in the order asked for.
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
        """What changes when the rows do."""
        return hashlib.sha256(_json(asdict(self.manifest))).hexdigest()

    def _map(self, number: int, rows: range) -> Tensor:
        path = _shard(self.folder, number)
        expected = (len(rows), *self.manifest.shape[1:])
        try:
            array = np.load(path, mmap_mode="c")  # copy on write: torch wants arrays that it might write to
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); delete the folder {self.folder} and extract again."
            ) from error
        if array.shape != expected or array.dtype != self.manifest.dtype:
            raise UserError(
                f"{path} should hold {self.manifest.dtype} of shape {expected} and holds {array.dtype} of shape "
                f"{array.shape}; delete the folder {self.folder} and extract again."
            )
        return torch.from_numpy(array)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"rows-{number:05d}.npy"


def _json(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / _MANIFEST
    try:
        content = json.loads(path.read_bytes())
        return Manifest(**{**content, "shape": tuple(content["shape"])})
    except FileNotFoundError as error:
        raise UserError(f"There is no feature store {folder}; `python -m cmr_lightning extract` makes one.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is not the manifest of a feature store ({error}); delete the folder {folder} and extract again."
        ) from error


def _read_rows(folder: Path, manifest: Manifest) -> tuple[list[str], list[str]]:
    path = folder / _ROWS
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error}); delete the folder {folder} and extract again.") from error
    if hashlib.sha256(content).hexdigest()[:16] != manifest.data:
        raise UserError(f"{path} has not the checksum of the manifest; delete the folder {folder} and extract again.")
    rows = json.loads(content)
    return rows["ids"], rows["checks"]


def _write(path: Path, content: bytes | memoryview) -> None:
    """Write a whole file, or say why not."""
    try:
        with whole_file(path) as file:
            file.write(content)
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> UserError:
    return UserError(
        f"{path} could not be written: {system_reason(error)}; fix that and run the same command again, "
        f"which continues where it stopped."
    )
