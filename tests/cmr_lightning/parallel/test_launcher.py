"""A training on two processes of which one is killed: it ends with one sentence, and can be resumed."""

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

TIMEOUT = 120


def start(folder: Path, *options: str, epochs: int = 100_000, run: str = "run") -> Popen[bytes]:
    """Start a training on two processes, which write their errors to `folder/errors`."""
    fixed = [
        f"--config={write_toy(folder / 'toy.yaml')}",
        f"--run_dir={folder / run}",
        f"--trainer.max_epochs={epochs}",
        "--trainer.enable_progress_bar=false",
        "--model.init_args.ramp=false",  # it would depend on the end of the training
        "--trainer.devices=2",
        "--trainer.strategy=ddp",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (folder / "errors").open("wb") as errors:
        command = [sys.executable, "-m", "cmr_lightning", "fit", *fixed, *options]
        return Popen(command, cwd=ROOT, env=environment, stdout=DEVNULL, stderr=errors)


def wait_until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(process: int) -> bool:
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def kill_one(folder: Path, which: int, *options: str) -> tuple[int, str]:
    """Kill a process once a checkpoint was written, and wait for both; the first's exit code, and the errors."""
    run = Run(folder / "run")
    written = run.last.stat().st_mtime_ns if run.last.exists() else 0
    first = start(folder, *options)
    wait_until(lambda: run.last.exists() and run.last.stat().st_mtime_ns > written)
    second = int(Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()[0])
    os.kill((first.pid, second)[which], signal.SIGKILL)
    first.wait(TIMEOUT)
    wait_until(lambda: not alive(second))
    errors = (folder / "errors").read_text()
    assert "Traceback" not in errors
    return first.returncode, errors


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes below /proc, which Linux alone has")
def test_killed_process_ends_the_training_with_a_sentence(tmp_path: Path) -> None:
    run, whole = Run(tmp_path / "run"), Run(tmp_path / "whole")
    code, errors = kill_one(tmp_path, 1)
    assert code == 2
    assert errors.count("error: A process of this group was lost: number 1 was killed by SIGKILL;") == 1
    path, checkpoint = newest_checkpoint(run)
    assert path == run.last

    code, errors = kill_one(tmp_path, 0, "--resume=true")
    assert code == -signal.SIGKILL
    assert errors.count("error: A process of this group was lost; ") == 1
    later = newest_checkpoint(run)[1]
    assert later["global_step"] > checkpoint["global_step"]

    end = later["epoch"] + 2
    assert start(tmp_path, "--resume=true", epochs=end).wait(TIMEOUT) == 0
    assert start(tmp_path, epochs=end, run="whole").wait(TIMEOUT) == 0
    assert newest_checkpoint(run)[1]["global_step"] > later["global_step"]
    assert differences(whole, run) == []


def test_process_that_would_wait_forever_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cmr_lightning.parallel.launcher._GRACE_SECONDS", 0.1)
    waiting = os.fork()
    if waiting == 0:
        sys.stderr = (tmp_path / "errors").open("w")
        launcher = GroupLauncher(LightningEnvironment(), num_processes=2, num_nodes=1)
        monkeypatch.setattr(launcher, "_call_children_scripts", lambda: launcher.procs.append(Popen("false")))
        launcher.launch(lambda: time.sleep(TIMEOUT))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 2
    assert "A process of this group was lost: number 1 ended with exit code 1;" in (tmp_path / "errors").read_text()


def test_other_errors_do_not_mean_a_lost_process() -> None:
    assert not another_was_lost(RuntimeError("CUDA out of memory"))
    assert not another_was_lost(dist.DistBackendError("NCCL error: ncclInternalError"))
