import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path
from threading import Event
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from threadpoolctl import threadpool_info

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.files.file_lock import locked
from cmr_lightning.runs import pool
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.pool import Outcome, execute, share, side_by_side
from cmr_lightning.runs.run import Run
from tests.building import ROOT, write_toy
from tests.cmr_lightning.runs.killing import differences

CALLBACK = "--trainer.callbacks+=tests.cmr_lightning.runs.test_pool"


def plan(folder: Path, *options: str, seed: int = 3, epochs: int = 1) -> PlannedRun:
    folder.mkdir(exist_ok=True)
    given = (f"--trainer.max_epochs={epochs}", *options)
    return PlannedRun(write_toy(folder / "toy.yaml"), seed, given, Run(folder / f"run{seed}"))


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRun:
    return plan(tmp_path)


class Surroundings(pl.Callback):
    """Notes what a process finds before it trains."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        loggers = (None, "pytorch_lightning", "lightning_fabric", "py.warnings")
        found = {
            "signals": {number.name: str(signal.getsignal(number)) for number in signal.Signals},
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "folder": str(Path.cwd()),
            "arguments": sys.argv[1:],
            "warnings": sorted(map(repr, warnings.filters)),
            "handlers": {name: [type(h).__name__ for h in logging.getLogger(name).handlers] for name in loggers},
            "environment": dict(os.environ),
            "threads": [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())],
            "workers": multiprocessing.get_start_method(),
            "random": [float(torch.rand(())), torch.initial_seed()],
        }
        Path(trainer.default_root_dir).with_suffix(f".{trainer.state.fn.value}.json").write_text(json.dumps(found))


def test_a_run_of_the_pool_equals_one_of_a_new_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    forked, fresh = (plan(tmp_path / name, f"{CALLBACK}.Surroundings", epochs=2) for name in ("forked", "fresh"))
    phases: list[Any] = []
    commands = [forked.fit, forked.test]
    outcome = execute(forked, lambda: commands, {"OMP_NUM_THREADS": "2"}, tell=lambda _, phase: phases.append(phase))
    assert outcome.error is None
    assert phases == ["starting", "fit", "fit epoch 1 of 2", "fit epoch 2 of 2", "test", None]
    words = [sys.executable, "-m", "cmr_lightning.runs.pool", *fresh.fit, "--", *fresh.test]
    subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "2"}, stdout=subprocess.DEVNULL, check=True)
    assert differences(fresh.run, forked.run) == []
    one, other = (Record.read(planned.run.record) for planned in (forked, fresh))
    assert one.metrics == other.metrics
    assert one.hardware == other.hardware
    for stage in ("fit", "test"):
        texts = [planned.run.path.with_suffix(f".{stage}.json").read_text() for planned in (forked, fresh)]
        assert json.loads(texts[0].replace(str(tmp_path / "forked"), str(tmp_path / "fresh"))) == json.loads(texts[1])


def test_the_server_has_one_thread_and_receives_no_signal(planned: PlannedRun) -> None:
    assert execute(planned, lambda: [["fit", "--config=none.yaml"]], {}).error is not None
    server = Path(f"/proc/{forkserver._forkserver._forkserver_pid}")
    assert len(list((server / "task").iterdir())) == 1
    blocked = next(line for line in (server / "status").read_text().splitlines() if line.startswith("SigBlk"))
    assert int(blocked.split()[1], 16) & (1 << (signal.SIGINT - 1))


class Killed(pl.Callback):
    """Kills the process in its second epoch, as a machine does that lacks memory."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1 and torch.initial_seed() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_that_is_killed_fails_and_leaves_the_others(tmp_path: Path) -> None:
    runs = [plan(tmp_path, f"{CALLBACK}.Killed", seed=seed, epochs=2) for seed in (1, 2)]
    waiting = iter(runs)

    def work(environment: dict[str, str], stopping: Event) -> Iterator[Outcome]:
        for planned in waiting:
            yield execute(planned, lambda: [planned.fit], environment, stopping.is_set)  # noqa: B023

    errors = {outcome.planned.seed: outcome.error for outcome in side_by_side(2, work)}
    assert errors[2] is None
    assert str(errors[1]).startswith("exit code -9: ")


def test_a_run_ends_when_it_is_told_to_and_can_be_resumed(tmp_path: Path) -> None:
    planned, trains = plan(tmp_path, epochs=1000), Event()

    def tell(name: str, phase: str | None) -> None:
        if phase is not None and phase.startswith("fit epoch"):
            trains.set()

    outcome = execute(planned, lambda: [planned.fit], {}, trains.is_set, tell)
    assert outcome.stopped
    assert outcome.error is None
    assert planned.run.checkpoints()
    assert not planned.run.finished
    assert "with --resume=true" in planned.run.output.read_text()


def test_ctrl_c_is_passed_on_where_nobody_else_does(planned: PlannedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(pool, "_watch", watch)
    with pytest.raises(KeyboardInterrupt):
        execute(planned, lambda: [planned.fit], {})
    process = watch.call_args.args[0]
    process.join(60)
    assert process.exitcode not in (0, None)
    assert not planned.run.finished


@pytest.mark.slow
def test_a_run_may_have_several_processes(tmp_path: Path) -> None:
    planned = plan(tmp_path, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert execute(planned, lambda: [planned.fit, planned.test], {}).error is None
    assert len(Record.read(planned.run.record).metrics) > 1


def test_the_reason_of_a_failure_is_told(planned: PlannedRun, tmp_path: Path) -> None:
    ends = execute(planned, lambda: [["test", f"--config={tmp_path / 'none.yaml'}"], planned.test], {})
    assert ends.error is not None
    assert "none.yaml" in ends.error
    assert "Traceback" not in ends.error


def test_another_process_is_waited_for(planned: PlannedRun, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(pool, "_SECONDS_BETWEEN_CHECKS", 0.01)
    log, found, waits = planned.run.output, [[["fit"]]], Event()

    def ends() -> bool:
        waits.set()
        return False

    with ThreadPoolExecutor() as threads:
        with locked(log):
            log.write_text("what the other one printed")
            outcome = threads.submit(execute, planned, lambda: found[-1], {}, ends)
            assert waits.wait(60)
            found.append([])  # the other one has finished the run
        assert outcome.result(60) == Outcome(planned, 0.0)
    printed = capsys.readouterr().out
    assert printed == f"toy seed 3 waits, as another process still works on it (it holds {log}).\n"
    assert log.read_text() == "what the other one printed"


def test_nobody_waits_longer_than_wanted(planned: PlannedRun) -> None:
    with locked(planned.run.output):
        assert execute(planned, lambda: [planned.fit], {}, ends=lambda: True) == Outcome(planned, 0.0, stopped=True)


def test_what_goes_wrong_in_a_place_is_raised() -> None:
    def work(environment: dict[str, str], stopping: Event) -> Iterator[str]:
        yield "one"
        raise UserError("no")

    results = side_by_side(1, work)
    assert next(results) == "one"
    with pytest.raises(UserError, match="no"):
        next(results)


def test_jobs_share_cores_and_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "cpu_count", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    shares = [share(place, 3) for place in range(3)]
    assert [s["CUDA_VISIBLE_DEVICES"] for s in shares] == ["0", "1", "0"]
    assert {s["OMP_NUM_THREADS"] for s in shares} == {"2"}
    assert "CUDA_VISIBLE_DEVICES" not in share(0, 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)  # as OMP_NUM_THREADS=1 makes it
    assert share(0, 3)["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("given", "seen", "used"),
    [
        ("2,3", 2, ["2", "3", "2"]),
        ("GPU-8932f937, GPU-1f22a253", 2, ["GPU-8932f937", "GPU-1f22a253", "GPU-8932f937"]),
        ("MIG-a,MIG-b", 1, ["MIG-a", "MIG-b", "MIG-a"]),
        ("4,-1,5", 1, ["4", "4", "4"]),
        ("", 0, [None, None, None]),
        ("MIG-a", 0, [None, None, None]),
    ],
)
def test_jobs_use_given_gpus(given: str, seen: int, used: list[str | None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    assert [share(place, 3).get("CUDA_VISIBLE_DEVICES") for place in range(3)] == used
