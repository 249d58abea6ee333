"""`benchmark`: many experiments with several seeds, run once each, and their table at the end."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cmr_lightning.benchmark.plan import Benchmark, read_benchmark
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.experiment import data_checksum, resolved_config
from cmr_lightning.reports.report import main as report
from cmr_lightning.runs.execution import Outcome, execute, missing_commands, share
from cmr_lightning.runs.planned_run import PlannedRun

Todo = tuple[PlannedRun, Callable[[], list[list[str]]]]
"""A run, and what finds the commands that it misses, as others may work on it meanwhile."""


def main(arguments: Sequence[str]) -> None:
    """Run a benchmark file, or what is left of it.

    Args:
        arguments: The command, and its options.

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
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and stop")
    options = parser.parse_args(arguments[1:])
    if options.jobs < 1:
        raise UserError(f"--jobs is {options.jobs}, but must be at least 1.")
    benchmark = read_benchmark(options.config)
    console = Console()
    try:
        outcomes = _run(benchmark, options, console)
    except KeyboardInterrupt:
        console.print("\nStopped; the same command goes on.")
        sys.exit(130)
    _raise_if_failed(outcomes)


def _run(benchmark: Benchmark, options: argparse.Namespace, console: Console) -> list[Outcome]:
    """Run what is left and report it; how all runs of the plan ended."""
    winners, failed = ({}, {}) if options.dry_run else _tuned(benchmark, options.jobs)
    plan = benchmark.plan(winners)
    todo, outcomes = look(planned for planned in plan if planned.experiment not in failed)
    outcomes += [Outcome(p, 0.0, failed[p.experiment]) for p in plan if p.experiment in failed]
    console.print(f"{len(todo)} of {len(todo) + len(outcomes)} runs to do in {benchmark.runs}.")
    if options.dry_run:
        if benchmark.tuning is not None:
            console.print(f"Before, a sweep of {benchmark.tuning.trials} trials for each experiment that has one.")
        for planned, missing in todo:
            console.print(f"{planned.name}: {', then '.join(command[0] for command in missing())}")
        return outcomes
    ends = on_cluster(todo, options.cluster, benchmark) if options.cluster else on_this_machine(todo, options.jobs)
    with closing(ends):
        outcomes += watch(ends, len(todo), console)
    finished = [outcome.planned for outcome in outcomes if outcome.error is None]
    if finished:
        report(_report_of(benchmark, finished))
        if others := _others(benchmark, finished):
            said = f"The report leaves out runs in {benchmark.runs} that this benchmark did not finish: {others}."
            console.print(said, markup=False, soft_wrap=True)
    return outcomes


def _tuned(benchmark: Benchmark, jobs: int) -> tuple[dict[Path, Path], dict[Path, str]]:
    if benchmark.tuning is None:
        return {}, {}
    from cmr_lightning.benchmark.tuning import winners

    return winners(benchmark, benchmark.tuning, jobs)


def _report_of(benchmark: Benchmark, finished: Sequence[PlannedRun]) -> list[str]:
    """The command that puts these runs side by side, against those references that have one among them."""
    folders = [str(planned.run.path) for planned in finished]
    arguments = ["report", *folders, f"--output={benchmark.runs / 'report'}"]
    names = {planned.experiment_name.rpartition("/")[2] for planned in finished}
    return arguments + [f"--reference={name}" for name in benchmark.reference if name in names]


def _others(benchmark: Benchmark, finished: Sequence[PlannedRun]) -> int:
    """How many other runs with a record the folder holds: of an earlier plan, or with settings that failed since."""
    records = {planned.run.record for planned in finished}
    return sum(path not in records for path in benchmark.runs.rglob(finished[0].run.record.name))


def _raise_if_failed(outcomes: Sequence[Outcome]) -> None:
    failed: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            failed.setdefault(outcome.error, []).append(outcome.planned.name)
    if failed:
        count = sum(map(len, failed.values()))
        reasons = "\n".join(f"  {_named(names)}: {error}" for error, names in failed.items())
        raise UserError(f"{count} of {len(outcomes)} runs failed; the same command tries them again:\n{reasons}")


def _named(names: Sequence[str]) -> str:
    """Runs that failed for one reason: by name while they are few."""
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"


def look(plan: Iterable[PlannedRun]) -> tuple[list[Todo], list[Outcome]]:
    """What is left to do of a plan, and what needs nothing any more or cannot be done."""
    todo: list[Todo] = []
    outcomes: list[Outcome] = []
    for planned in plan:
        try:
            config = resolved_config(planned.fit)
            missing = partial(missing_commands, planned, config, _data_checksum(yaml.safe_dump(config["data"])))
            if missing():
                todo.append((planned, missing))
            else:
                outcomes.append(Outcome(planned, 0.0))
        except UserError as error:
            outcomes.append(Outcome(planned, 0.0, str(error)))
    return todo, outcomes


@cache
def _data_checksum(config: str) -> str:
    return data_checksum(yaml.safe_load(config))


def on_this_machine(todo: Sequence[Todo], jobs: int) -> Generator[Outcome, None, None]:
    """Outcomes as runs end, `jobs` at the same time; each has its share of the cores, and a GPU in turn."""
    places: SimpleQueue[dict[str, str]] = SimpleQueue()
    for place in range(jobs):
        places.put(share(place, jobs))
    stopping = threading.Event()

    def run(planned: PlannedRun, missing: Callable[[], list[list[str]]]) -> Outcome:
        environment = places.get()
        try:
            return execute(planned, missing, environment, stopping.is_set)
        except UserError as error:
            return Outcome(planned, 0.0, str(error))
        finally:
            places.put(environment)

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run, *each) for each in todo]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for waiting in futures:
                waiting.cancel()
            stopping.set()


def on_cluster(todo: Sequence[Todo], cluster: str, benchmark: Benchmark) -> Generator[Outcome, None, None]:
    """Outcomes as runs end on a cluster, one job a run; what has not ended when this is closed is cancelled.

    Raises:
        UserError: If submitit is not installed.
    """
    try:
        import submitit
    except ModuleNotFoundError:
        raise UserError("--cluster needs submitit; install it with `pip install cmr_lightning[cluster]`.") from None
    executor = submitit.AutoExecutor(folder=benchmark.runs / "cluster", cluster=cluster)
    executor.update_parameters(**benchmark.cluster)
    with executor.batch():
        submitted = [executor.submit(execute, planned, missing, {}) for planned, missing in todo]
    jobs = dict(zip(submitted, (planned for planned, _ in todo), strict=True))
    try:
        yield from _as_they_end(jobs)
    finally:
        for job in jobs:
            job.cancel(check=False)


def _as_they_end(jobs: dict[Any, PlannedRun], pause: float = 1.0) -> Iterator[Outcome]:
    """Outcomes of jobs, which are taken out of `jobs` meanwhile."""
    while jobs:
        for job in [job for job in jobs if job.done()]:
            planned = jobs.pop(job)
            error = job.exception()
            yield job.result() if error is None else Outcome(planned, 0.0, str(error).splitlines()[-1])
        time.sleep(pause if jobs else 0)


def watch(ends: Iterable[Outcome], total: int, console: Console) -> Iterator[Outcome]:
    """Pass outcomes on, and show how many there are, how they ended and what remains."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("benchmark", total=total)
        start = time.monotonic()
        for number, outcome in enumerate(ends, start=1):
            remaining = (time.monotonic() - start) / number * (total - number)
            progress.advance(task)
            progress.console.print(
                f"[{number}/{total}] {_line(outcome)}, {remaining / 60:.0f} min remain", markup=False, soft_wrap=True
            )
            yield outcome


def _line(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.planned.name} failed: {outcome.error}"
    record = Record.read(outcome.planned.run.record)
    score = record.metrics[record.protocol]["mean"]
    return f"{outcome.planned.name}: {record.protocol} {score:.4f} in {outcome.seconds:.0f} s"
