"""A run's folder: one experiment with one seed, and the files in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError, system_reason
from cmr_lightning.files.whole_file import write_whole


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
    record = _Inside("record.json")  # the results of `test`
    ranks = _Inside("ranks.npz")  # of every test query
    embeddings = _Inside("embeddings.npz")  # the test part in the common space, as `predict` writes it
    gallery = _Inside("gallery.png")  # test queries with their top results
    examples = _Inside("examples.npz")  # points of the common space and queries with their results, for the report
    metrics = _Inside("metrics.csv")  # losses and scores by update, as the training logged them
    log = _Inside("run.log")  # warnings and messages of libraries
    wandb = _Inside("wandb.json")  # the W&B run that this one is logged to, if any
    _summary = _Inside("fit.json")

    @property
    def output(self) -> Path:
        """Everything that the process of a pool printed; beside the folder, which may be emptied meanwhile."""
        return self.path.with_name(f"{self.path.name}.log")

    def checkpoints(self) -> list[Path]:
        """List what a run can be resumed from: the last before the previous one, and what Lightning saves for SLURM."""
        own = [path for path in (self.last, self.previous) if path.exists()]
        return own + sorted(self.path.glob("hpc_ckpt_*.ckpt"))

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
            UserError: If it never did.
        """
        if not self.finished:
            raise UserError(f"{self.path} holds no finished run ({self._summary.name} is missing); run `fit` first.")
        return json.loads(self._summary.read_text())

    def check(self, resume: bool, overwrite: bool) -> None:
        """Refuse what `fit` should not do here: to `resume` from a checkpoint, or `overwrite` what an earlier one left.

        Raises:
            UserError: If the folder holds a run and neither was asked for, or there is nothing to resume.
        """
        _refuse_unusable(self.path)
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
        """Make the folder ready for `fit`, after `check`."""
        if overwrite and self.started:
            # first what could be resumed, tested or taken for a result, in case this is interrupted
            for path in (*self.checkpoints(), self._summary, self.record):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.path)
        self._summary.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)


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


def experiment_name(configs: Sequence[Path]) -> str:
    """Join the names of config files by `+`: the path below the nearest folder `experiments`, or the file's own name.

    Examples:
        >>> experiment_name([Path("experiments/wikipedia/daml.yaml")])
        'wikipedia/daml'
    """
    names = []
    for config in configs:
        parts = config.resolve().with_suffix("").parts
        nearest = max((i for i, part in enumerate(parts[:-1]) if part == "experiments"), default=len(parts) - 2)
        names.append("/".join(parts[nearest + 1 :]))
    first, *others = names or ["unnamed"]
    return "+".join([first, *(name.replace("/", "-") for name in others)])


def run_of_config(configs: Sequence[Path]) -> Run | None:
    """Find the run whose own `config.yaml` was given, wherever its folder has been moved to."""
    for config in configs:
        run = Run(config.parent)
        if config.name == run.config.name and run.best.parent.is_dir():
            return run
    return None


def run_of_command(command: str, configs: Sequence[Path], options: Any) -> Run:
    """Find the run that `fit`, `validate`, `test` or `predict` works on, and refuse what it cannot do there.

    Args:
        command: The command.
        configs: The config files that it was given.
        options: Its options `experiment`, `run_dir`, `seed_everything` and `ckpt_path`, and of `fit` also `resume` and
            `overwrite`; those that are left open are filled in.

    Raises:
        UserError: If the folder already holds a run, or lacks the checkpoint that the command needs.
    """
    options.experiment = options.experiment or experiment_name(configs)
    given = Run(Path(options.run_dir or f"runs/{options.experiment}/seed{options.seed_everything}"))
    run = given if command == "fit" else run_of_config(configs) or given
    options.run_dir = str(run.path)
    if options.ckpt_path is not None and not Path(options.ckpt_path).is_file():
        raise UserError(f"{options.ckpt_path}, given as --ckpt_path, does not exist.")
    if command == "fit":
        if int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0:
            options.resume = bool(run.checkpoints())
            options.overwrite = not options.resume
        if _is_first_process():  # the others find the folder in use
            run.check(options.resume, options.overwrite)
    elif options.ckpt_path is None and not run.best.exists():
        raise UserError(f"{run.best} does not exist; train the experiment with `fit` first, or give --ckpt_path.")
    return run


def _is_first_process() -> bool:
    """Tell whether this process is the first of its group, by what Lightning goes by before there is a trainer."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"
