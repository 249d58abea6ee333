"""Filling a feature store, by several processes at once and after any interruption.

Every file is written under another name first and then renamed, so a file that is there is whole. A process that died
leaves its shards behind, and the next one makes those that are missing. Nothing in the files depends on when, by how
many processes, or after how many interruptions they were written.
"""

import fcntl
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.errors import UserError, system_reason
from cmr_lightning.files.checksum import sha256_of
from cmr_lightning.files.whole_file import whole_file
from cmr_lightning.store.feature_store import (
    MANIFEST,
    ROWS,
    FeatureStore,
    Manifest,
    Rows,
    as_json,
    read_manifest,
    shard_file,
    shard_files,
)

_LOCK = "lock"


class StoreWriter:
    """Fills a store with its missing shards.

    Used as a context: at its end the shards that were claimed and not written are free for others again.

    Raises:
        UserError: If the folder holds a store that was made with other settings, or is damaged, or nothing can be
            written there.
    """

    def __init__(self, folder: Path, rows: Rows, manifest: Manifest) -> None:
        self.folder = folder
        self.rows = rows
        self.manifest = manifest
        self.shards = manifest.shards()
        self._manifest_file = folder / MANIFEST
        self._lock: io.BufferedRandom | None = None  # None: the store is finished
        if self._is_finished():
            FeatureStore(folder)  # raises if a file was lost or damaged since
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / _LOCK).open("a+b")
        except OSError as error:
            raise _not_written(folder, error) from error
        with self._alone(self._lock):
            if not self._manifest_file.exists():
                _write(folder / ROWS, rows.content())
                _write(self._manifest_file, as_json(asdict(manifest)))
        self._is_finished()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.close()

    def missing(self) -> list[range]:
        """List the rows of the shards that are not there."""
        return [rows for number, rows in enumerate(self.shards) if not shard_file(self.folder, number).exists()]

    def claims(self) -> Iterator[range]:
        """Claim one missing shard after the other for this process alone, and yield its rows.

        A claim is a lock on one byte of a file, which the system takes back from a process that dies.
        """
        for number, rows in enumerate(self.shards):
            if self._lock is not None and self._claim(self._lock, number):
                yield rows

    def write(self, rows: range, features: Tensor) -> None:
        """Put the features of a claimed shard, `(len(rows), D)` or `(len(rows), turns, D)`, into the store.

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
        _write(shard_file(self.folder, self.shards.index(rows)), buffer.getbuffer())

    def finish(self) -> bool:
        """Mark the store as finished if no shard is missing; otherwise other processes are still at work."""
        if self.missing():
            return False
        if self._lock is not None:
            with self._alone(self._lock):
                if not self._is_finished():  # another was first, whose lock file may be gone by now
                    checksums = tuple(map(sha256_of, shard_files(self.folder, self.manifest)))
                    finished = replace(self.manifest, finished=True, checksums=checksums)
                    _write(self._manifest_file, as_json(asdict(finished)))
                (self.folder / _LOCK).unlink(missing_ok=True)
        return True

    def _is_finished(self) -> bool:
        if not self._manifest_file.exists():
            return False
        theirs = read_manifest(self.folder)
        for field in fields(Manifest):
            made, asked = getattr(theirs, field.name), getattr(self.manifest, field.name)
            if field.name not in ("finished", "checksums") and made != asked:
                raise UserError(
                    f"The feature store {self.folder} was made with other settings: {field.name} is {made} there, and "
                    f"{asked} is asked for; give the new store another name, or delete the folder."
                )
        return theirs.finished

    @contextmanager
    def _alone(self, lock: io.BufferedRandom) -> Iterator[None]:
        """Keep other processes from writing the manifest: its lock is on the byte behind those of the shards."""
        fcntl.lockf(lock, fcntl.LOCK_EX, 1, len(self.shards))
        try:
            yield
        finally:
            fcntl.lockf(lock, fcntl.LOCK_UN, 1, len(self.shards))

    def _claim(self, lock: io.BufferedRandom, number: int) -> bool:
        path = shard_file(self.folder, number)
        if path.exists():
            return False
        try:
            # By hand: filelock locks whole files, and a store would have one beside each shard.
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except (BlockingIOError, PermissionError):  # another process works on it
            return False
        return not path.exists()  # it may have been finished between the two checks


def _write(path: Path, content: bytes | memoryview) -> None:
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
