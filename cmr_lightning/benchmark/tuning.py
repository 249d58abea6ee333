"""The best settings of every experiment of a benchmark, each searched for equally long."""

from fnmatch import fnmatch
from pathlib import Path

from cmr_lightning.benchmark.plan import Benchmark, Tuning, matching
from cmr_lightning.errors import UserError
from cmr_lightning.runs.settings import as_options
from cmr_lightning.sweep.file import SweepFile, read_sweep
from cmr_lightning.sweep.run_sweep import run_sweep


def winners(benchmark: Benchmark, tuning: Tuning, jobs: int) -> tuple[dict[Path, Path], dict[Path, str]]:
    """Find the winner of each experiment's sweep, after what is left of the sweep is run, `jobs` trials at a time.

    Returns:
        The winners, and of the experiments that have none, why their sweeps failed.

    Raises:
        UserError: If an experiment has no sweep.
    """
    overrides = as_options(benchmark.overrides)
    found: dict[Path, Path] = {}
    failed: dict[Path, str] = {}
    for file, sweep in sweeps_of(benchmark, tuning).items():
        folder = benchmark.runs / "sweeps" / sweep.path.stem
        try:
            found[file] = run_sweep(sweep, folder, tuning.trials, jobs, overrides)
        except UserError as error:
            failed[file] = f"its sweep failed: {error}"
            print(f"{file} is not run, as {failed[file]}")
    return found, failed


def sweeps_of(benchmark: Benchmark, tuning: Tuning) -> dict[Path, SweepFile]:
    """Find the sweep of each experiment that has something to search for.

    Raises:
        UserError: If one has none.
    """
    sweeps = {sweep.experiment: sweep for pattern in tuning.sweeps for sweep in map(read_sweep, matching(pattern))}
    searched = [file for file in benchmark.files if not any(fnmatch(file.stem, name) for name in tuning.without)]
    if lacking := [str(file) for file in searched if file not in sweeps]:
        raise UserError(
            f"Every experiment must have its sweep, or be named under tuning.without; {', '.join(lacking)} has none."
        )
    return {file: sweeps[file] for file in searched}
