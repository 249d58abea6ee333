"""The best settings of every experiment of a benchmark, each searched for equally long."""

from __future__ import annotations

from pathlib import Path

from cmr_lightning.benchmark.plan import Benchmark, Tuning, as_options, matching
from cmr_lightning.errors import UserError
from cmr_lightning.sweep.command import run_sweep
from cmr_lightning.sweep.file import SweepFile, read_sweep


def winners(benchmark: Benchmark, tuning: Tuning, jobs: int) -> dict[Path, Path]:
    """For each experiment that is searched for the winner of its sweep; sweeps that are not done are run.

    Args:
        benchmark: The benchmark; its overrides hold for all trials.
        tuning: How long is searched, and where.
        jobs: Trials at the same time.

    Raises:
        UserError: If an experiment has no sweep, or a sweep cannot be run.
    """
    overrides = as_options(benchmark.overrides)
    return {
        file: run_sweep(sweep, benchmark.runs / "sweeps" / sweep.path.stem, tuning.trials, jobs, overrides)
        for file, sweep in sweeps_of(benchmark, tuning).items()
    }


def sweeps_of(benchmark: Benchmark, tuning: Tuning) -> dict[Path, SweepFile]:
    """The sweep of each experiment that has something to search for.

    Raises:
        UserError: If one has none.
    """
    sweeps = {sweep.experiment: sweep for pattern in tuning.sweeps for sweep in map(read_sweep, matching(pattern))}
    searched = [file for file in benchmark.files if file.stem not in tuning.without]
    if lacking := [str(file) for file in searched if file not in sweeps]:
        raise UserError(
            f"Every experiment must have its sweep, or be named under tuning.without; {', '.join(lacking)} has none."
        )
    return {file: sweeps[file] for file in searched}
