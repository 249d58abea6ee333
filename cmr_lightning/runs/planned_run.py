"""One run that somebody plans: which experiment with which seed and settings, in which folder."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.yaml_file import read_yaml
from cmr_lightning.runs.conditions import record_of
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.run_of_command import experiment_name
from cmr_lightning.runs.settings import as_option, as_options, put

SEARCHED = "searched_"
"""Stands before the name of an experiment that a benchmark's `search` gave other settings than those of its file."""

_NAMES = ("run_dir", "experiment")


@dataclass(frozen=True)
class PlannedRun:
    """One experiment, by its file, with one seed.

    Attributes:
        options: What is set besides the file, the seed and the split, as on the command line.
        laid: Settings beside these, by their dotted names, that put other values in the place of those there are.
        row: What boards call it; None for the name of its file.
        split: The split of the data; None for that of the experiment's file.
        tested: Whether it is measured on the test part, too.
    """

    experiment: Path
    seed: int
    options: tuple[str, ...]
    run: Run
    row: str | None = None
    split: Any = None
    tested: bool = True
    laid: tuple[tuple[str, Any], ...] = ()

    @property
    def experiment_name(self) -> str:
        """The experiment as boards call it, e.g. `wikipedia/daml` or `wikipedia/daml_no_adversary`."""
        return self.row or experiment_name([self.experiment])

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
            *as_options(dict(self.laid)),
            *([] if self.split is None else [f"--data.init_args.split={as_option(self.split)}"]),
            *([] if self.row is None else [f"--experiment={self.row}"]),
            f"--run_dir={self.run.path}",
        ]

    @property
    def test(self) -> list[str]:
        """The command that measures it."""
        return ["test", f"--config={self.run.config}"]

    def lay_over(self, config: dict[str, Any]) -> dict[str, Any]:
        """Make this config from the resolved one of a run that differs in split, seed, names and what is `laid`."""
        config = deepcopy(config)
        for key, value in self.laid:
            put(config, key, value)
        if self.split is not None:
            put(config, "data.split", self.split)
        name = {} if self.row is None else {"experiment": self.row}
        return {**config, "seed_everything": self.seed, "run_dir": str(self.run.path), **name}


@dataclass(frozen=True)
class Job:
    """A planned run, with the resolved config and the checksum of its data that it must have to count as finished."""

    planned: PlannedRun
    config: dict[str, Any]
    data_checksum: str

    def missing(self) -> list[list[str]]:
        """List the commands that are left to do, in their order; none if the run is finished."""
        planned, run = self.planned, self.planned.run
        test = [planned.test] if planned.tested else []
        again = [[*planned.fit, "--overwrite=true"], *test]
        if (record := record_of(run)) is not None:
            config = {key: record.config.get(key) for key in self.config}  # `test` has options of its own
            return [] if record.data_checksum == self.data_checksum and self._is_of(config) else again
        if not run.started or not self._is_of(_config_of(run)):
            return again
        if run.finished:
            return test
        return [[*planned.fit, "--resume=true"], *test] if run.checkpoints() else again

    def _is_of(self, config: dict[str, Any]) -> bool:
        """Compare a run's config with this one, whatever the run is called and wherever it is kept."""
        return without_names(config) == without_names(self.config)


def _config_of(run: Run) -> dict[str, Any]:
    """Return the config of a run; an empty one if it is damaged, so that the run begins again."""
    try:
        config = read_yaml(run.config, "config file")
    except UserError:
        return {}
    return config if isinstance(config, dict) else {}


def without_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a config what a run is called and where it is kept."""
    return {key: value for key, value in config.items() if key not in _NAMES}
