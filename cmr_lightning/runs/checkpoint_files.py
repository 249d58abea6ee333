"""Checkpoints on disk: written whole or not at all, and loaded without running code that may be hidden in them."""

import io
import os
import struct
import zipfile
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_warn

from cmr_lightning.errors import UserError, system_reason
from cmr_lightning.files.checksum import short_checksum
from cmr_lightning.files.whole_file import whole_file
from cmr_lightning.runs.run import Run

# torch's errors on bytes that are not a pickle, which it reads as the commands of one
_NO_PICKLE = (UnpicklingError, AttributeError, LookupError, TypeError, ValueError, struct.error)


class RunCheckpoints(TorchCheckpointIO):
    """Writes the checkpoints of a run, and keeps the one before the last, in case the last is damaged."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            UserError: If it cannot be written; what was there before is still there.
        """
        path = Path(path)
        content = io.BytesIO()  # torch's own writing hides why it failed
        torch.save(checkpoint, content)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(path) as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())  # a disk that is full shows before the last one is moved
                if path.absolute() == self.run.last.absolute() and path.exists():
                    path.replace(self.run.previous)
        except OSError as error:
            raise UserError(
                f"{path} could not be written: {system_reason(error)}; what was saved before is intact. "
                f"Fix that, and continue with --resume=true."
            ) from error

    def load_checkpoint(self, path: str | Path, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint onto the CPU; see `read_checkpoint`."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `fit` wrote, onto the CPU; unpickle nothing but tensors, numbers, texts and collections of them.

    Raises:
        UserError: If the file is missing, damaged or closed to the user, or holds something else.
    """
    try:
        if (damaged := _damaged_entry(path)) is not None:
            raise UserError(f"The checkpoint {path} is damaged: {damaged} does not have its checksum.")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"There is no checkpoint {path}.") from None
    except PermissionError as error:
        raise UserError(f"The checkpoint {path} cannot be read: {error.strerror}.") from error
    except _NO_PICKLE as error:
        raise UserError(
            f"{path} is not loaded: it is no checkpoint of `fit`, or holds objects that could run any program."
        ) from error
    except (EOFError, OSError, RuntimeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise UserError(f"The checkpoint {path} is damaged: {reason}.") from error
    if not isinstance(checkpoint, dict) or not {"pytorch-lightning_version", "state_dict"} <= checkpoint.keys():
        raise UserError(
            f"{path} is not loaded: it is no checkpoint of `fit`; give the best.ckpt or last.ckpt of a run."
        )
    return checkpoint


def _damaged_entry(path: Path) -> str | None:
    """Name a part of a checkpoint whose bytes do not have their CRC-32, which torch does not compare."""
    if not zipfile.is_zipfile(path):
        return None  # torch says what else it may be
    with zipfile.ZipFile(path) as archive:
        return archive.testzip()


@dataclass(frozen=True)
class Trained:
    """What a checkpoint says beside its weights.

    Attributes:
        path: Its file.
        config: The resolved config of the training.
        trained_on: What the model was trained on, as `TrainedOn.as_plain` returns it.
        changes: Settings that resuming has changed, see `comparison.changes_on_resume`.
        fingerprint: What tells its content from that of other checkpoints, 16 hexadecimal digits.
        updates: Updates of the generator before it.
        metrics_rows: Rows of the metrics file before it.
    """

    path: Path
    config: dict[str, Any]
    trained_on: dict[str, Any]
    changes: list[dict[str, Any]]
    fingerprint: str
    updates: int
    metrics_rows: int

    @classmethod
    def read(cls, path: Path) -> "Trained":
        """Read it from a checkpoint that `fit` wrote.

        Raises:
            UserError: If there is none, or it is damaged, or was written by an earlier version.
        """
        return cls.of(path, read_checkpoint(path))

    @classmethod
    def of(cls, path: Path, content: dict[str, Any]) -> "Trained":
        """Take it from the content of a checkpoint; raise UserError if an earlier version wrote that."""
        if not {"config", "trained_on"} <= content.keys():
            raise UserError(
                f"{path} does not say what it was trained on, so it was written by an earlier version, or not by "
                f"`fit`; train again."
            )
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename.partition("/")[2], entry.CRC, entry.file_size) for entry in archive.infolist()]
        fingerprint = short_checksum(repr(entries).encode())
        return cls(
            path=path,
            config=content["config"],
            trained_on=content["trained_on"],
            changes=content["changes"],
            fingerprint=fingerprint,
            updates=content["global_step"],
            metrics_rows=content["metrics_rows"],
        )


def newest_checkpoint(run: Run) -> tuple[Path, dict[str, Any]]:
    """Find the newest checkpoint of a run that can be read; return its path and its content.

    Raises:
        UserError: If there is none, or it was written by a version that did not count the rows of the metrics file.
    """
    newest: tuple[Path, dict[str, Any]] | None = None
    progress = itemgetter("epoch", "global_step")
    errors = []
    for path in run.checkpoints():  # compared by their content, as copies of files may all have the same time
        if newest is not None and path == run.previous:
            continue
        try:
            checkpoint = read_checkpoint(path)
        except UserError as error:
            errors.append(str(error))
            continue
        if newest is None or progress(checkpoint) > progress(newest[1]):
            newest = path, checkpoint
    if newest is None:
        raise UserError(" ".join(errors) or f"There is nothing to resume in {run.path}; leave --resume out.")
    if "metrics_rows" not in newest[1]:
        raise UserError(f"{newest[0]} was written by an earlier version; start over with --overwrite=true.")
    for damage in errors:
        rank_zero_warn(f"{damage} The run continues from the newest of the others, {newest[0]}.")
    return newest
