import csv
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from cmr_lightning.__main__ import main
from cmr_lightning.benchmark import run_benchmark as command
from cmr_lightning.benchmark.jobs import find_jobs
from cmr_lightning.benchmark.plan import read_benchmark
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.runs.planned_run import Job, PlannedRun
from cmr_lightning.runs.pool import Outcome
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.settings import look_up
from tests.building import ROOT, write_toy
from tests.cmr_lightning.reports.made_runs import make_run
from tests.cmr_lightning.sweep.made import Pretence, pretend, write_sweep

Said = Callable[[], str]
FOUR_SEEDS = [Job(PlannedRun(Path("toy.yaml"), seed, (), Run(Path())), {}, "") for seed in range(4)]


def write_benchmark(folder: Path, seeds: str = "[0, 1]") -> Path:
    """Two toy experiments of one epoch."""
    path, toys = folder / "bench.yaml", folder / "experiments" / "toy"
    toys.mkdir(parents=True, exist_ok=True)
    one, two = (write_toy(toys / f"{name}.yaml") for name in ("one", "two"))
    settings = f"seeds: {seeds}\nruns: {folder}/runs\noverrides: {{trainer.max_epochs: 1}}\n"
    path.write_text(f"experiments: [{one}, {two}]\n{settings}")
    return path


def spoil(folder: Path, name: str, dim: str = "eight") -> None:
    """Make an experiment fail when it is resolved."""
    path = folder / f"experiments/toy/{name}.yaml"
    path.write_text(path.read_text().replace("dim: 8", f"dim: {dim}"))


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, no_pictures: None) -> list[str]:
    """Runs happen in this process and its main thread, which is faster; their names are noted."""
    started: list[str] = []

    def run(job: Job) -> Outcome:
        started.append(job.planned.name)
        failed = any(main(words) != 0 for words in job.missing())
        return Outcome(job.planned, 1.0, "it failed" if failed else None)

    monkeypatch.setattr(command, "on_this_machine", lambda todo, jobs, tell: (run(job) for job in todo))
    monkeypatch.setattr("cmr_lightning.benchmark.benchmark_command.start_server", lambda: None)
    return started


def test_runs_everything_once(tmp_path: Path, in_process: list[str], said: Said) -> None:
    bench = write_benchmark(tmp_path)
    assert main(["benchmark", f"--config={bench}"]) == 0
    names = [f"toy/{name} seed {seed}" for seed in (0, 1) for name in ("one", "two")]
    assert in_process == names
    printed = said()
    assert "[4/4]" in printed
    assert "leaves out" not in printed
    assert main(["benchmark", f"--config={bench}"]) == 0
    assert in_process == names
    assert "0 of 4 runs to do" in said()


def test_a_failure_stops_no_other_run(tmp_path: Path, in_process: list[str], said: Said) -> None:
    bench = write_benchmark(tmp_path, seeds="[0]")
    spoil(tmp_path, "one")
    assert main(["benchmark", f"--config={bench}"]) == 2
    assert in_process == ["toy/two seed 0"]
    printed = said()
    assert "1 of 2 runs failed; the same command tries them again: toy/one seed 0: " in printed
    assert "dim: should be a valid integer" in printed


def test_a_reason_that_runs_share_is_told_once(tmp_path: Path, in_process: list[str], said: Said) -> None:
    bench = write_benchmark(tmp_path, seeds="[0, 1, 2, 3, 4]")
    spoil(tmp_path, "one")
    spoil(tmp_path, "two", "ten")
    assert main(["benchmark", f"--config={bench}"]) == 2
    printed = said()
    assert "10 of 10 runs failed" in printed
    assert printed.count("got eight") == printed.count("got ten") == 1
    assert "toy/one seed 0 and 4 more: " in printed


def test_report_is_of_finished_runs_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    def made(todo: Sequence[Job], jobs: int, tell: Any) -> Iterator[Outcome]:
        for job in todo:
            make_run(job.planned.run.path, experiment=job.planned.experiment_name, seed=job.planned.seed)
            yield Outcome(job.planned, 1.0)

    monkeypatch.setattr(command, "on_this_machine", made)
    bench = write_benchmark(tmp_path, seeds="[1]")
    bench.write_text(bench.read_text() + "reference: one\n")
    spoil(tmp_path, "one")
    for left in ("one/seed0", "one/seed1", "two/seed0"):  # of more seeds, and of settings that were right
        make_run(tmp_path / "runs" / "toy" / left, experiment=f"toy/{left.partition('/')[0]}")
    assert main(["benchmark", f"--config={bench}"]) == 2
    assert f"leaves out runs in {tmp_path}/runs that this benchmark did not finish: 3." in said()
    report = (tmp_path / "runs/report/report.csv").read_text()
    assert {(row["experiment"], row["seeds"]) for row in csv.DictReader(report.splitlines())} == {("toy/two", "1")}


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    return pretend(monkeypatch)


def write_tuned(folder: Path, without: str) -> Path:
    """A benchmark of two experiments, with a sweep of the first."""
    bench = write_benchmark(folder, seeds="[0]")
    sweep = write_sweep(folder)
    one = folder / "experiments/toy/one.yaml"
    (folder / "toy.yaml").replace(one)
    sweep.write_text(sweep.read_text().replace(str(folder / "toy.yaml"), str(one)))
    bench.write_text(bench.read_text() + f"tuning: {{trials: 3, sweeps: [{sweep}], without: {without}}}\n")
    return bench


def test_experiments_run_with_the_best_of_a_sweep(tmp_path: Path, in_process: list[str], searched: Pretence) -> None:
    bench = write_tuned(tmp_path, "[two]")
    assert main(["benchmark", f"--config={bench}"]) == 0
    assert in_process == ["toy/one seed 0", "toy/two seed 0"]
    winner = yaml.safe_load((tmp_path / "runs/sweeps/sweep/experiments/toy/one.yaml").read_text())
    record = Record.read(tmp_path / "runs/toy/one/seed0/record.json")
    assert record.experiment == "toy/one"
    rate = "model.generator_optimizer.lr"
    assert look_up(record.config, rate) == look_up(winner, rate) is not None
    assert main(["benchmark", f"--config={bench}"]) == 0
    assert searched.started == [0, 1, 2], "once"
    assert len(in_process) == 2


def test_failed_sweep_stops_only_its_run(tmp_path: Path, in_process: list[str], searched: Pretence, said: Said) -> None:
    bench = write_tuned(tmp_path, "[two]")
    searched.failing = {0, 1, 2}
    assert main(["benchmark", f"--config={bench}"]) == 2
    assert in_process == ["toy/two seed 0"]
    printed = said()
    assert "toy/one.yaml is not run, as its sweep failed: All 3 trials failed" in printed
    assert "1 of 2 runs failed; the same command tries them again: toy/one seed 0: its sweep failed: All 3" in printed
    searched.failing = set()
    assert main(["benchmark", f"--config={bench}"]) == 0
    assert in_process == ["toy/two seed 0", "toy/one seed 0"]


def test_a_missing_sweep_is_refused(tmp_path: Path, in_process: list[str], searched: Pretence, said: Said) -> None:
    assert main(["benchmark", f"--config={write_tuned(tmp_path, '[]')}"]) == 2
    assert "two.yaml has none" in said()
    assert not in_process
    assert not searched.started


def test_dry_run_runs_nothing(tmp_path: Path, in_process: list[str], searched: Pretence, said: Said) -> None:
    assert main(["benchmark", f"--config={write_tuned(tmp_path, '[two]')}", "--dry-run"]) == 0
    printed = said()
    assert "a sweep of 3 trials" in printed
    assert "toy/one seed 0: fit, then test" in printed
    assert not searched.started
    assert not in_process
    assert not (tmp_path / "runs").exists()


def test_jobs_run_at_the_same_time_and_failures_are_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=10)
    places = []

    def execute(planned: PlannedRun, missing: Any, environment: dict[str, str], ends: Any, tell: Any) -> Outcome:
        places.append(environment)
        both.wait()
        if planned.seed == 1:
            raise UserError("no")
        return Outcome(planned, 1.0)

    monkeypatch.setattr(command, "execute", execute)
    outcomes = list(command.on_this_machine(FOUR_SEEDS, jobs=2))
    assert {outcome.planned.seed: outcome.error for outcome in outcomes} == {0: None, 1: "no", 2: None, 3: None}
    assert all(place["OMP_NUM_THREADS"] for place in places)


def test_ctrl_c_is_answered_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    def interrupted(todo: Sequence[Job], jobs: int, tell: Any) -> Iterator[Outcome]:
        yield Outcome(todo[0].planned, 1.0, "it failed")
        planned = todo[1].planned
        make_run(planned.run.path, examples=False)
        yield Outcome(planned, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "on_this_machine", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["benchmark", f"--config={write_benchmark(tmp_path)}"])
    assert stop.value.code == 130
    assert said().endswith("Stopped by Ctrl-C. The same command continues.")


def test_runs_are_stopped_with_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    started, goes_on, stopped = [], threading.Event(), threading.Event()

    def execute(planned: PlannedRun, missing: Any, environment: Any, ends: Callable[[], bool], tell: Any) -> Outcome:
        started.append(planned.seed)
        deadline = time.monotonic() + 10
        while planned.seed == 1 and time.monotonic() < deadline and not stopped.is_set():
            goes_on.set()
            if ends():
                stopped.set()
        return Outcome(planned, 1.0)

    monkeypatch.setattr(command, "execute", execute)
    ends = command.on_this_machine(FOUR_SEEDS, jobs=1)
    next(ends)
    assert goes_on.wait(10)
    ends.close()
    assert stopped.is_set()
    assert started == [0, 1]


def test_what_another_benchmark_has_finished_meanwhile_is_kept(tmp_path: Path, no_pictures: None) -> None:
    plan = read_benchmark(write_benchmark(tmp_path, seeds="[0]")).plan()[:1]
    todo, _ = find_jobs(plan)
    assert [main(words) for words in todo[0].missing()] == [0, 0]
    written = plan[0].run.record.stat().st_mtime_ns
    assert list(command.on_this_machine(todo, jobs=1)) == [Outcome(plan[0], 0.0)]
    assert plan[0].run.record.stat().st_mtime_ns == written


@pytest.mark.slow
def test_on_a_cluster(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    bench = write_benchmark(tmp_path, seeds="[0]")
    assert main(["benchmark", f"--config={bench}", "--cluster=local"]) == 0
    assert len(list((tmp_path / "runs").rglob("record.json"))) == 2


def test_who_stops_a_benchmark_cancels_its_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra `cluster` is not installed")
    jobs: list[Mock] = []

    def submit(executor: Any, function: Any, planned: PlannedRun, *arguments: Any) -> Mock:
        job = Mock()
        job.done.return_value = not jobs  # the first ends at once, the others never
        job.exception.return_value = None
        job.result.return_value = Outcome(planned, 1.0)
        jobs.append(job)
        return job

    monkeypatch.setattr(submitit.AutoExecutor, "submit", submit)
    benchmark = read_benchmark(write_benchmark(tmp_path))
    ends = command.on_cluster([Job(planned, {}, "") for planned in benchmark.plan({})], "local", benchmark)
    assert next(ends) == jobs[0].result()
    ends.close()
    assert [job.cancel.called for job in jobs] == [False, True, True, True]


def kill_with_runs(number: int) -> None:
    """Kill a process and those that it started, as the end of a machine does."""
    os.kill(number, signal.SIGSTOP)  # so that it starts no other
    children = subprocess.run(["pgrep", "-P", str(number)], check=False, capture_output=True, text=True)
    for child in children.stdout.split():
        kill_with_runs(int(child))
    os.kill(number, signal.SIGKILL)


@pytest.mark.slow
def test_killed_and_started_again_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    draw = random.Random(0)
    killed, calm = (
        [sys.executable, "-m", "cmr_lightning", "benchmark", f"--config={bench}", "--jobs=2"]
        for bench in (write_benchmark(tmp_path / name, "[0]") for name in ("killed", "calm"))
    )
    runs = tmp_path / "killed" / "runs"
    for sign in ("*.log", "config.yaml"):  # the process of a run begins, and so does its training
        process = subprocess.Popen(killed, cwd=ROOT, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(runs.rglob(sign)) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 0.5))
        kill_with_runs(process.pid)
        process.wait()
        assert list(runs.rglob(sign))
        assert len(list(runs.rglob("record.json"))) < 2
    finished = {path: path.stat().st_mtime_ns for path in runs.rglob("record.json")}
    subprocess.run(killed, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(calm, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
    records = [sorted((tmp_path / name / "runs").rglob("record.json")) for name in ("killed", "calm")]
    one, other = ([Record.read(path).metrics for path in paths] for paths in records)
    assert len(one) == 2
    assert one == other
