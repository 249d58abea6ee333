"""What a benchmark file asks for: which experiment runs with which seed, on which split, in which folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from cmr_lightning.errors import UserError
from cmr_lightning.runs import Run, experiment_name


@dataclass(frozen=True)
class PlannedRun:
    """One experiment with one seed.

    Attributes:
        experiment: The experiment's file.
        seed: Its seed.
        options: What is set beside the file and the seed, as on the command line.
        run: Where the run lives.
    """

    experiment: Path
    seed: int
    options: tuple[str, ...]
    run: Run

    @property
    def name(self) -> str:
        """The run as people call it, e.g. `wikipedia/daml seed 3`."""
        return f"{experiment_name([self.experiment])} seed {self.seed}"

    @property
    def fit(self) -> list[str]:
        """The command that trains it, without `--resume` or `--overwrite`."""
        return [
            "fit",
            f"--config={self.experiment}",
            f"--seed_everything={self.seed}",
            *self.options,
            f"--run_dir={self.run.path}",
        ]

    @property
    def test(self) -> list[str]:
        """The command that measures it."""
        return ["test", f"--config={self.run.config}"]


@dataclass(frozen=True)
class Tuning:
    """The part `tuning` of a benchmark: each experiment runs with the best setting of a sweep, all of equal length.

    Attributes:
        trials: Trials of each sweep.
        sweeps: Files or patterns such as `experiments/sweeps/wikipedia_*.yaml`.
        without: Experiments that have nothing to search for, by their files' names, such as `random`.
    """

    trials: int
    sweeps: tuple[str, ...]
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Benchmark:
    """A file `experiments/benchmarks/<name>.yaml`.

    Attributes:
        experiments: Files or patterns such as `experiments/wikipedia/*.yaml`.
        seeds: Seeds of every experiment.
        splits: For data sets with several splits, by the folder of their experiments, the split on which each seed
            runs, in the order of the seeds: the spread is then over seeds and splits.
        overrides: Settings of all experiments by their dotted names, e.g. `trainer.max_epochs: 5`.
        reference: The experiment that others are compared with, by its file's name, such as `triplet`.
        runs: Folder of the runs; `runs/benchmarks/<name>` if None.
        cluster: Settings of the cluster's engine by submitit's names, such as `timeout_min` and `slurm_partition`.
        tuning: How the settings of the experiments are searched for; None to run them as they are written.
    """

    experiments: tuple[str, ...]
    seeds: tuple[int, ...]
    splits: dict[str, list[Any]]
    overrides: dict[str, Any]
    reference: str | None
    runs: Path
    cluster: dict[str, Any]
    tuning: Tuning | None

    @property
    def files(self) -> list[Path]:
        """The experiments' files.

        Raises:
            UserError: If a pattern matches none.
        """
        return [file for pattern in self.experiments for file in matching(pattern)]

    @property
    def options(self) -> tuple[str, ...]:
        """The overrides as options of a command line."""
        return tuple(f"--{key}={as_option(value)}" for key, value in self.overrides.items())

    def plan(self) -> list[PlannedRun]:
        """Every run, seed after seed, so that a benchmark that is stopped early has compared all methods.

        Raises:
            UserError: If a pattern matches no file, or the splits are not as many as the seeds.
        """
        return [self._run(file, row) for row in range(len(self.seeds)) for file in self.files]

    def _run(self, file: Path, row: int) -> PlannedRun:
        options = [*self.options]
        seed = self.seeds[row]
        folder = f"seed{seed}"
        splits = self.splits.get(file.parent.name)
        if splits is not None:
            options.append(f"--data.init_args.split={splits[row]}")
            folder += f"-split{splits[row]}".replace("/", "-")
        return PlannedRun(file, seed, tuple(options), Run(self.runs / experiment_name([file]) / folder))


def read_benchmark(path: Path) -> Benchmark:
    """Read and check a benchmark file.

    Raises:
        UserError: If the file is missing, or a key is unknown, missing or not of the right form.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no benchmark file {path}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}.") from error
    known = [field.name for field in fields(Benchmark)]
    if not isinstance(content, dict) or not content.get("experiments") or set(content) - set(known):
        raise UserError(f"{path} must name `experiments`, and may have no other keys than {', '.join(known)}.")
    seeds = tuple(content.get("seeds", (0,)))
    splits = content.get("splits") or {}
    for folder, values in splits.items():
        if len(values) != len(seeds):
            raise UserError(
                f"{path}: splits.{folder} has {len(values)} entries for {len(seeds)} seeds; name one for each seed."
            )
    return Benchmark(
        experiments=tuple(content["experiments"]),
        seeds=seeds,
        splits=splits,
        overrides=content.get("overrides") or {},
        reference=content.get("reference"),
        runs=Path(content.get("runs") or Path("runs/benchmarks") / path.stem),
        cluster=content.get("cluster") or {},
        tuning=_tuning(path, content.get("tuning")),
    )


def _tuning(path: Path, content: Any) -> Tuning | None:
    if content is None:
        return None
    known = [field.name for field in fields(Tuning)]
    if not isinstance(content, dict) or not {"trials", "sweeps"} <= set(content) <= set(known):
        raise UserError(f"{path}: `tuning` must say `trials` and `sweeps`, and may have no other keys than `without`.")
    return Tuning(content["trials"], tuple(content["sweeps"]), tuple(content.get("without", ())))


def matching(pattern: str) -> Sequence[Path]:
    """The files that a pattern names, relative to the working directory.

    Raises:
        UserError: If there is none.
    """
    files = sorted(Path().glob(pattern)) if not Path(pattern).is_absolute() else [Path(pattern)]
    if not files or not all(file.is_file() for file in files):
        raise UserError(f"No experiment matches {pattern}; patterns are relative to the working directory.")
    return files


def as_option(value: Any) -> str:
    """A setting as one word of a command line."""
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True, width=10**9).split("\n...")[0].strip()
    )
