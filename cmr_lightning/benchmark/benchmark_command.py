"""`benchmark`: many experiments with several seeds, run once each, and their table at the end."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from cmr_lightning.benchmark.plan import read_benchmark
from cmr_lightning.errors import UserError
from cmr_lightning.runs.fork_server import start_server


def main(arguments: Sequence[str]) -> None:
    """Run what is left of a benchmark file.

    Raises:
        UserError: If the file is not right, or at the end if runs failed.
    """
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning benchmark",
        description="Run many experiments with several seeds; what is finished is not run again.",
    )
    parser.add_argument("--config", type=Path, required=True, help="experiments/benchmarks/<name>.yaml")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time; they share cores and GPUs")
    parser.add_argument("--cluster", choices=("slurm", "local"), help="hand the runs to a cluster by submitit instead")
    parser.add_argument("--dry-run", action="store_true", help="print what would run, and stop")
    options = parser.parse_args(arguments[1:])
    if options.jobs < 1:
        raise UserError(f"--jobs is {options.jobs}, but must be at least 1.")
    benchmark = read_benchmark(options.config)
    if not options.dry_run and not options.cluster:
        start_server()
    from cmr_lightning.benchmark.run_benchmark import run_benchmark  # it imports torch, while the server does

    run_benchmark(benchmark, options.jobs, options.cluster, options.dry_run)
