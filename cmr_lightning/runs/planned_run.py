"""One run that somebody plans: which experiment with which seed and settings, in which folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cmr_lightning.runs.run import Run, experiment_name


@dataclass(frozen=True)
class PlannedRun:
    """One experiment with one seed.

    Attributes:
        experiment: The experiment's file.
        seed: Its seed.
        options: What is set beside the file and the seed, as on the command line.
        run: Where the run lives.
        variant: What it is called behind the experiment, if it is a variant of it.
    """

    experiment: Path
    seed: int
    options: tuple[str, ...]
    run: Run
    variant: str | None = None

    @property
    def experiment_name(self) -> str:
        """The experiment as boards call it, e.g. `wikipedia/daml` or `wikipedia/daml_no_adversary`."""
        return row_name(self.experiment, self.variant)

    @property
    def name(self) -> str:
        """The run as people call it, e.g. `wikipedia/daml seed 3`."""
        return f"{self.experiment_name} seed {self.seed}"

    @property
    def fit(self) -> list[str]:
        """The command that trains it, without `--resume` or `--overwrite`."""
        return [
            "fit",
            f"--config={self.experiment}",
            f"--seed_everything={self.seed}",
            *self.options,
            *([] if self.variant is None else [f"--experiment={self.experiment_name}"]),
            f"--run_dir={self.run.path}",
        ]

    @property
    def test(self) -> list[str]:
        """The command that measures it."""
        return ["test", f"--config={self.run.config}"]


def row_name(file: Path, variant: str | None) -> str:
    """Name of an experiment on a board, with its variant behind it, e.g. `wikipedia/daml_no_adversary`."""
    name = experiment_name([file])
    return name if variant is None else f"{name}_{variant}"


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Settings by their dotted names as options of a command line."""
    return [f"--{key}={as_option(value)}" for key, value in settings.items()]


def as_option(value: Any) -> str:
    """A setting as one word of a command line."""
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True, width=10**9).split("\n...")[0].strip()
    )
