"""A training on two processes, one of which is killed: it ends with one sentence, and goes on when it is told to."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, Popen

import pytest
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch import distributed as dist

from cmr_lightning.parallel.launcher import GroupLauncher, another_was_lost
from cmr_lightning.runs.checkpoint_files import newest_checkpoint
from cmr_lightning.runs.run import Run
from tests.building import ROOT, write_toy
from tests.cmr_lightning.runs.killing import differences

PATIENCE = 120


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A training that no test waits the end of."""
    folder = tmp_path_factory.mktemp("group")
    return [
        f"--config={write_toy(folder / 'toy.yaml')}",
        f"--run_dir={folder / 'run'}",
        "--trainer.max_epochs=100000",
        "--trainer.enable_progress_bar=false",
        "--model.init_args.ramp=false",  # it would depend on the end of the training
    ]


@pytest.fixture
def run(options: list[str]) -> Run:
    return Run(Path(options[1].partition("=")[2]))


def start(options: list[str], errors: Path) -> Popen[bytes]:
    """Begin a training on two processes, which can be found by what `errors` is called."""
    command = [sys.executable, "-m", "cmr_lightning", "fit", *options, "--trainer.devices=2", "--trainer.strategy=ddp"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with errors.open("wb") as file:
        return Popen(command, cwd=ROOT, env=environment, stdout=DEVNULL, stderr=file)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def second_of(first: Popen[bytes]) -> int:
    """The process that the first has started."""
    return int(Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()[0])


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def kill_one(options: list[str], run: Run, folder: Path, which: int) -> tuple[Popen[bytes], int, str]:
    """Kill a process by SIGKILL once a checkpoint has been written, and wait until there is none.

    Returns:
        The first process, the id of the second, and what they said as an error.
    """
    written = run.last.stat().st_mtime_ns if run.last.exists() else 0
    first = start(options, folder / "errors")
    wait_until(lambda: run.last.exists() and run.last.stat().st_mtime_ns > written)
    second = second_of(first)
    os.kill((first.pid, second)[which], signal.SIGKILL)
    first.wait(PATIENCE)
    wait_until(lambda: not alive(second))
    return first, second, (folder / "errors").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes below /proc, which Linux alone has")
def test_killed_process_ends_the_training_with_a_sentence(options: list[str], run: Run, tmp_path: Path) -> None:
    first, _, errors = kill_one(options, run, tmp_path, which=1)
    assert first.returncode == 2
    assert errors.count("error: A process of this group was lost: number 1 was killed by SIGKILL;") == 1
    assert "Traceback" not in errors
    path, checkpoint = newest_checkpoint(run)
    assert path == run.last

    first, _, errors = kill_one([*options, "--resume=true"], run, tmp_path, which=0)
    assert first.returncode == -signal.SIGKILL
    assert errors.count("error: A process of this group was lost; ") == 1
    assert "Traceback" not in errors
    later = newest_checkpoint(run)[1]
    assert later["global_step"] > checkpoint["global_step"]

    end = f"--trainer.max_epochs={later['epoch'] + 2}"
    assert start([*options, end, "--resume=true"], tmp_path / "errors").wait(PATIENCE) == 0
    whole = Run(run.path.with_name("whole"))
    assert start([*options, end, f"--run_dir={whole.path}"], tmp_path / "errors").wait(PATIENCE) == 0
    assert newest_checkpoint(run)[1]["global_step"] > later["global_step"]
    assert differences(whole, run) == []


def test_process_that_would_wait_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cmr_lightning.parallel.launcher._GRACE", 0.1)
    waiting = os.fork()
    if waiting == 0:
        sys.stderr = (tmp_path / "errors").open("w")
        launcher = GroupLauncher(LightningEnvironment(), num_processes=2, num_nodes=1)
        monkeypatch.setattr(launcher, "_call_children_scripts", lambda: launcher.procs.append(Popen("false")))
        launcher.launch(lambda: time.sleep(PATIENCE))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 2
    assert "A process of this group was lost: number 1 ended with exit code 1;" in (tmp_path / "errors").read_text()


def test_other_errors_are_none_of_a_lost_process() -> None:
    assert not another_was_lost(RuntimeError("CUDA out of memory"))
    assert not another_was_lost(dist.DistBackendError("NCCL error: ncclInternalError"))
