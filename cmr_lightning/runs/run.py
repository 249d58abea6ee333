"""A run's folder: one experiment with one seed, and what lies where in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.whole_file import write_whole


@dataclass(frozen=True)
class Run:
    """A folder `runs/<experiment>/seed<seed>/`.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved config; `test --config` takes it as it is."""
        return self.path / "config.yaml"

    @property
    def best(self) -> Path:
        """The checkpoint that was best on the validation part."""
        return self.path / "checkpoints" / "best.ckpt"

    @property
    def last(self) -> Path:
        """The newest checkpoint, from which a run is resumed."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def previous(self) -> Path:
        """The checkpoint that was the newest before."""
        return self.path / "checkpoints" / "previous.ckpt"

    def checkpoints(self) -> list[Path]:
        """What a run can be resumed from: the last before the previous one, and what Lightning saves for SLURM."""
        own = [path for path in (self.last, self.previous) if path.exists()]
        return own + sorted(self.path.glob("hpc_ckpt_*.ckpt"))

    @property
    def record(self) -> Path:
        """What `test` found."""
        return self.path / "record.json"

    @property
    def ranks(self) -> Path:
        """The ranks of every test query."""
        return self.path / "ranks.npz"

    @property
    def embeddings(self) -> Path:
        """The test part in the common space, as `predict` writes it."""
        return self.path / "embeddings.npz"

    @property
    def gallery(self) -> Path:
        """Test queries with their top results, as a picture."""
        return self.path / "gallery.png"

    @property
    def examples(self) -> Path:
        """Points of the common space and queries with their results, for the report."""
        return self.path / "examples.npz"

    @property
    def metrics(self) -> Path:
        """Losses and scores by update, as the training logged them."""
        return self.path / "metrics.csv"

    @property
    def log(self) -> Path:
        """Everything that was said while the run went on."""
        return self.path / "run.log"

    @property
    def output(self) -> Path:
        """Everything that the process of a pool printed; beside the folder, which may be emptied meanwhile."""
        return self.path.with_name(f"{self.path.name}.log")

    @property
    def wandb(self) -> Path:
        """Which W&B run this one is logged to, if to any."""
        return self.path / "wandb.json"

    @property
    def _summary(self) -> Path:
        return self.path / "fit.json"

    @property
    def finished(self) -> bool:
        """Whether `fit` came to its end."""
        return self._summary.exists()

    @property
    def started(self) -> bool:
        """Whether `fit` was ever begun here."""
        return self.config.exists()

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Note that `fit` came to its end, and how."""
        write_whole(self._summary, json.dumps(summary, indent=2) + "\n")

    def read_summary(self) -> dict[str, Any]:
        """How `fit` ended.

        Raises:
            UserError: If it never did.
        """
        if not self.finished:
            raise UserError(f"{self.path} holds no finished run ({self._summary.name} is missing); run `fit` first.")
        return json.loads(self._summary.read_text())

    def check(self, resume: bool, overwrite: bool) -> None:
        """Refuse what `fit` should not do in this folder.

        Args:
            resume: Whether to go on from the newest checkpoint.
            overwrite: Whether to throw away what an earlier `fit` left.

        Raises:
            UserError: If the folder holds a run and neither was asked for, or there is nothing to resume.
        """
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
        """Make the folder ready for `fit`, after `check`.

        What could be resumed, tested or taken for a result goes first, so that an interruption leaves nothing of that.
        """
        if overwrite and self.started:
            for path in (*self.checkpoints(), self._summary, self.record):
                path.unlink(missing_ok=True)
            shutil.rmtree(self.path)
        self._summary.unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)


def experiment_name(configs: Sequence[Path]) -> str:
    """Name of the experiment that a list of config files makes, e.g. `wikipedia/daml`.

    The path below the nearest folder called `experiments`, or the file's own name, without suffix; several files are
    joined by `+`.
    """
    names = []
    for config in configs:
        parts = config.resolve().with_suffix("").parts
        nearest = max((i for i, part in enumerate(parts[:-1]) if part == "experiments"), default=len(parts) - 2)
        names.append("/".join(parts[nearest + 1 :]))
    first, *others = names or ["unnamed"]
    return "+".join([first, *(name.replace("/", "-") for name in others)])


def run_of_config(configs: Sequence[Path]) -> Run | None:
    """The run whose own `config.yaml` was given, wherever its folder has been moved to."""
    for config in configs:
        run = Run(config.parent)
        if config.name == run.config.name and run.best.parent.is_dir():
            return run
    return None
