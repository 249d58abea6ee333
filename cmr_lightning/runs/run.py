"""A run's folder: one experiment with one seed, and the files in it."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from pydantic import ConfigDict
from typing_extensions import TypedDict

from cmr_lightning.errors import UserError, system_reason
from cmr_lightning.files.json_file import read_json
from cmr_lightning.files.whole_file import unfinished, write_whole

_MARK = "The files of a run of cmr_lightning are in this folder. A command that writes them holds a lock on this one.\n"


_LOGGED = ("events.out.tfevents.*", "hparams.yaml")


class Summary(TypedDict):
    """How `fit` ended: by which score the best checkpoint was chosen, what it took, and whatever else was noted."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    selection: dict[str, Any]
    wall_time_s: float
    peak_memory: NotRequired[dict[str, int]]


class _Inside:
    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: Run, owner: type[Run]) -> Path:
        return run.path / self.name


@dataclass(frozen=True)
class Run:
    """A folder `runs/<experiment>/seed<seed>/`."""

    path: Path

    config = _Inside("config.yaml")  # resolved; `test --config` takes it as it is
    best = _Inside("checkpoints/best.ckpt")  # on the validation part
    last = _Inside("checkpoints/last.ckpt")  # the newest, from which a run is resumed
    previous = _Inside("checkpoints/previous.ckpt")  # the newest but one
    more_checkpoints = _Inside("checkpoints/more")  # those of a `ModelCheckpoint` in the config
    record = _Inside("record.json")  # the results of `test`
    ranks = _Inside("ranks.npz")  # of every test query
    embeddings = _Inside("embeddings.npz")  # the test part in the common space, as `predict` writes it
    gallery = _Inside("gallery.png")  # test queries with their top results
    examples = _Inside("examples.npz")  # points of the common space and queries with their results, for the report
    metrics = _Inside("metrics.csv")  # losses and scores by update, as the training logged them
    trained_on = _Inside("trained_on.json")  # for people: the words, labels and settings that its checkpoints have
    log = _Inside("run.log")  # warnings and messages of libraries
    others = _Inside("other_conditions")  # results of other conditions than the run's own, each in a folder
    tensorboard = _Inside("tensorboard")  # what `trainer.logger: true` logs
    wandb = _Inside("wandb.json")  # the W&B run that this one is logged to, if any
    neighbours = _Inside("neighbours.npz")  # what `search` found among the embeddings
    lock = _Inside("run.lock")  # of the command that writes here; with `fit`'s mark in it, the folder is a run's
    _summary = _Inside("fit.json")

    @property
    def output(self) -> Path:
        """Everything that the process of a pool printed; beside the folder, which may be emptied meanwhile."""
        return self.path.with_name(f"{self.path.name}.log")

    def checkpoints(self) -> list[Path]:
        """List what a run can be resumed from: the last before the previous one, and what Lightning saves for SLURM."""
        own = [path for path in (self.last, self.previous) if path.exists()]
        return own + sorted(self.path.glob("hpc_ckpt_*.ckpt"))

    def files(self) -> list[Path]:
        """List what the commands have written here, and nothing that is of anybody else."""
        names = [inside.name for inside in vars(Run).values() if isinstance(inside, _Inside)]
        written = [self.path / name for name in names if name != self.lock.name]
        known = [path for path in (*written, *map(unfinished, written)) if path.is_symlink() or path.is_file()]
        logged = [path for name in _LOGGED for path in self.tensorboard.rglob(name)]
        saved = [*self.path.glob("hpc_ckpt_*.ckpt"), *self.more_checkpoints.glob("*.ckpt")]
        return [*known, *saved, *logged, *(path for folder in self.others.glob("*") for path in Run(folder).files())]

    @property
    def finished(self) -> bool:
        """True if `fit` came to its end."""
        return self._summary.exists()

    @property
    def started(self) -> bool:
        """True if `fit` was ever begun here."""
        return self.config.exists()

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Note how `fit` ended."""
        write_whole(self._summary, json.dumps(summary, indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """Read how `fit` ended.

        Raises:
            UserError: If it never did, or the file is damaged.
        """
        if not self.finished:
            raise UserError(f"{self.path} holds no finished run ({self._summary.name} is missing); run `fit` first.")
        return dict(read_json(self._summary, Summary, "run `fit` again"))

    def check(self, resume: bool, overwrite: bool) -> None:
        """Refuse what `fit` should not do here: to `resume` from a checkpoint, or `overwrite` what an earlier one left.

        Raises:
            UserError: If the folder holds a run and neither was asked for, there is nothing to resume, or the folder
                holds files of these names that are not a run's.
        """
        _refuse_unusable(self.path)
        if not self._is_a_runs() and (found := self.files()):
            names = ", ".join(str(path.relative_to(self.path)) for path in found)
            raise UserError(
                f"{self.path} is not the folder of a run, but holds {names}, which a run would replace; give another "
                f"--run_dir, or move them away."
            )
        if resume and overwrite:
            raise UserError("--resume and --overwrite exclude each other; give one of them.")
        if resume and not self.checkpoints():
            raise UserError(f"There is nothing to resume: {self.last} does not exist; leave --resume out.")
        if self.started and not (resume or overwrite):
            state = "a finished run" if self.finished else "an unfinished run"
            resuming = "--resume=true to continue from its last checkpoint, " if self.checkpoints() else ""
            raise UserError(
                f"{self.path} holds {state}; add {resuming}--overwrite=true to start over, or another --run_dir, "
                f"--experiment or --seed_everything to keep both."
            )

    def prepare(self, overwrite: bool) -> None:
        """Make the folder ready for `fit`, after `check`; what is not a run's stays."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._is_marked():
            self.lock.write_text(_MARK)  # not by another name first, as it may be held
        if overwrite:
            # first what could be resumed, tested or taken for a result, in case this is interrupted
            for path in (*self.checkpoints(), self._summary, self.record, *self.files()):
                path.unlink(missing_ok=True)
            for folder in (self.more_checkpoints, self.best.parent, self.tensorboard, self.others):
                _remove_empty(folder)
        self._summary.unlink(missing_ok=True)

    def _is_marked(self) -> bool:
        return self.lock.exists() and self.lock.stat().st_size > 0

    def _is_a_runs(self) -> bool:
        """Tell whether this is the folder of a run: `fit` has marked it, or did its work before it left marks."""
        if self._is_marked():
            return True
        if not (self.config.is_file() and (self.checkpoints() or self.finished)):
            return False
        with self.config.open("rb") as file:
            return file.readline(1000).startswith(b"# python -m cmr_lightning test --config ")


def _remove_empty(folder: Path) -> None:
    """Remove a folder and those in it, unless somebody has other files there."""
    for path in sorted([folder, *folder.rglob("*")], reverse=True):
        with suppress(OSError):
            path.rmdir()


def command_line(*words: str | Path) -> str:
    """Write a command of this program as a shell takes it.

    Examples:
        >>> command_line("test", "--config", Path("runs/a;b/config.yaml"))
        "python -m cmr_lightning test --config 'runs/a;b/config.yaml'"
    """
    return shlex.join(["python", "-m", "cmr_lightning", *map(str, words)])


def _refuse_unusable(folder: Path) -> None:
    """Raise UserError if a folder is none, or could not be made or written into."""
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    except OSError as error:
        raise UserError(f"--run_dir {str(folder)[:200]} cannot be used: {system_reason(error)}.") from error
    if not nearest.is_dir():
        raise UserError(f"--run_dir {folder} cannot be a folder, as {nearest} is a file; give another.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"--run_dir {folder} cannot be written, as {nearest} is closed to you; give another.")


def records_below(folder: Path) -> list[Path]:
    """List the records of all runs at or below a folder, without those of other conditions than the runs' own.

    Raises:
        UserError: If there is none.
    """
    other, name = Run(folder).others.name, Run(folder).record.name
    found = [path for path in sorted(folder.rglob(name)) if path.parent == folder or path.parents[1].name != other]
    if not found:
        raise UserError(f"{folder} holds no {name}; run `test` on its runs first.")
    return found
