"""`benchmark`: many experiments with several seeds, run once each, and their table at the end."""

import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from fnmatch import filter as matching_names
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import Any

from cmr_lightning.benchmark.jobs import find_jobs
from cmr_lightning.benchmark.plan import Benchmark, Case
from cmr_lightning.benchmark.search import chosen, told, tried
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.reports.report import main as report
from cmr_lightning.runs.planned_run import Job, PlannedRun
from cmr_lightning.runs.pool import Outcome, execute, side_by_side
from cmr_lightning.runs.progress import RunsProgress, Tell
from cmr_lightning.runs.run import records_below
from cmr_lightning.sweep.sweep_command import require_optuna


def run_benchmark(benchmark: Benchmark, jobs: int, cluster: str | None, dry_run: bool) -> None:
    """Run what is left of a benchmark, and report it.

    Args:
        benchmark: The benchmark.
        jobs: Runs at the same time on this machine.
        cluster: The cluster that runs instead, `slurm` or `local`.
        dry_run: Print what would run, and stop.

    Raises:
        UserError: At the end if runs failed.
    """
    try:
        outcomes = _run(benchmark, jobs, cluster, dry_run)
    except KeyboardInterrupt as stop:
        stop.add_note("The same command continues.")
        raise
    _raise_if_failed(outcomes)


def _run(benchmark: Benchmark, jobs: int, cluster: str | None, dry_run: bool) -> list[Outcome]:
    """Run what is left and report it; return how all runs of the plan ended."""
    winners, failed = ({}, {}) if dry_run else _tuned(benchmark, jobs)
    plan = benchmark.plan(winners, None if dry_run else _searched(benchmark, jobs, cluster))
    print(f"Reading the settings of {len(plan)} runs.", flush=True)
    todo, outcomes = find_jobs([planned for planned in plan if planned.experiment not in failed])
    outcomes += [Outcome(p, 0.0, failed[p.experiment]) for p in plan if p.experiment in failed]
    print(f"{len(todo)} of {len(todo) + len(outcomes)} runs to do in {benchmark.runs}.", flush=True)
    if dry_run:
        if benchmark.tuning is not None:
            print(f"Before, a sweep of {benchmark.tuning.trials} trials for each experiment that has one.")
        if benchmark.search is not None:
            print(f"Before, {len(benchmark.search.settings)} trials of each row; these may add rows to those shown.")
        for job in todo:
            print(f"{job.planned.name}: {', then '.join(command[0] for command in job.missing())}")
        return outcomes
    outcomes += _all_run("benchmark", todo, benchmark, jobs, cluster)
    finished = [outcome.planned for outcome in outcomes if outcome.error is None]
    if finished:
        report(_report_of(benchmark, finished))
        records = {planned.run.record for planned in finished}
        # of an earlier plan, or with settings that failed since
        others = sum(path not in records for path in records_below(benchmark.runs))
        if others:
            print(f"The report leaves out runs in {benchmark.runs} that this benchmark did not finish: {others}.")
    return outcomes


def _all_run(what: str, todo: Sequence[Job], benchmark: Benchmark, jobs: int, cluster: str | None) -> list[Outcome]:
    with RunsProgress(what, len(todo)) as progress:
        ends = on_cluster(todo, cluster, benchmark) if cluster else on_this_machine(todo, jobs, progress.tell)
        with closing(ends):
            return list(watch(ends, len(todo), progress))


def _searched(benchmark: Benchmark, jobs: int, cluster: str | None) -> list[Case] | None:
    """Run what is left of the trials, and return the rows with the settings that these chose."""
    if benchmark.search is None:
        return None
    trials = [trial for _, of_case in benchmark.trials(benchmark.search) for trial in of_case]
    todo, outcomes = find_jobs(trials)
    print(f"{len(todo)} of {len(trials)} trials to do in {benchmark.runs}.", flush=True)
    outcomes += _all_run("search", todo, benchmark, jobs, cluster)
    failed = {outcome.planned: outcome.error for outcome in outcomes if outcome.error is not None}
    rows = chosen(benchmark, benchmark.search, failed)
    print(told(rows, benchmark.search), flush=True)
    return rows


def _tuned(benchmark: Benchmark, jobs: int) -> tuple[dict[Path, Path], dict[Path, str]]:
    if benchmark.tuning is None:
        return {}, {}
    require_optuna()
    from cmr_lightning.benchmark.tuning import winners

    return winners(benchmark, benchmark.tuning, jobs)


def _report_of(benchmark: Benchmark, finished: Sequence[PlannedRun]) -> list[str]:
    """Write the command that puts these runs side by side, against those references that have one among them."""
    folders = [str(planned.run.path) for planned in finished]
    arguments = ["report", *folders, f"--output={benchmark.runs / 'report'}"]
    names = sorted({planned.experiment_name.rpartition("/")[2] for planned in finished})
    return arguments + [f"--reference={name}" for given in benchmark.reference for name in matching_names(names, given)]


def _raise_if_failed(outcomes: Sequence[Outcome]) -> None:
    failed: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            failed.setdefault(outcome.error, []).append(outcome.planned.name)
    if failed:
        message = f"{sum(map(len, failed.values()))} of {len(outcomes)} runs failed; the same command tries them again:"
        for error, names in failed.items():
            named = ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
            message += f"\n  {named}: {error}"
        raise UserError(message)


def on_this_machine(
    todo: Sequence[Job], jobs: int, tell: Tell = lambda name, phase: None
) -> Generator[Outcome, None, None]:
    """Yield outcomes as runs end, `jobs` at the same time; each has its share of the cores, and a GPU in turn."""
    waiting = iter(todo)  # of a list, from which threads take one after the other

    def work(environment: dict[str, str], stopping: Event) -> Iterator[Outcome]:
        for job in takewhile(lambda _: not stopping.is_set(), waiting):
            try:
                yield execute(job.planned, job.missing, environment, stopping.is_set, tell)
            except UserError as error:
                yield Outcome(job.planned, 0.0, str(error))

    return side_by_side(jobs, work)


def on_cluster(todo: Sequence[Job], cluster: str, benchmark: Benchmark) -> Generator[Outcome, None, None]:
    """Yield outcomes as runs end on a cluster, one job a run; what has not ended when this is closed is cancelled.

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
        submitted = [executor.submit(execute, job.planned, job.missing, {}) for job in todo]
    jobs = dict(zip(submitted, (job.planned for job in todo), strict=True))
    try:
        yield from _as_they_end(jobs)
    finally:
        for job in jobs:
            job.cancel(check=False)


def _as_they_end(jobs: dict[Any, PlannedRun], pause: float = 1.0) -> Iterator[Outcome]:
    """Yield outcomes as jobs end, and take these out of `jobs`."""
    while jobs:
        for job in [job for job in jobs if job.done()]:
            planned = jobs.pop(job)
            error = job.exception()
            yield job.result() if error is None else Outcome(planned, 0.0, str(error).splitlines()[-1])
        time.sleep(pause if jobs else 0)


def watch(ends: Iterable[Outcome], total: int, progress: RunsProgress) -> Iterator[Outcome]:
    """Pass outcomes on, and show how many there are, how they ended and what remains."""
    start = time.monotonic()
    for number, outcome in enumerate(ends, start=1):
        remaining = (time.monotonic() - start) / number * (total - number)
        progress.update(completed=number)
        progress.print(f"[{number}/{total}] {_line(outcome)}, {remaining / 60:.0f} min remain")
        yield outcome


def _line(outcome: Outcome) -> str:
    if outcome.error is not None:
        return f"{outcome.planned.name} failed: {outcome.error}"
    if not outcome.planned.tested:
        return f"{outcome.planned.name}: {tried(outcome.planned).score:.4f} on validation in {outcome.seconds:.0f} s"
    record = Record.read(outcome.planned.run.record)
    score = record.metrics[record.protocol]["mean"]
    return f"{outcome.planned.name}: {record.protocol} {score:.4f} in {outcome.seconds:.0f} s"
