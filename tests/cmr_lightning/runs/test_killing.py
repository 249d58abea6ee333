"""A run that is killed and resumed ends as if nothing had happened; `killing.py` does it as often as one likes."""

import itertools
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.evaluation import Record
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.run import Run
from tests.building import ROOT, write_toy
from tests.cmr_lightning.runs.killing import job_of


@pytest.mark.slow
def test_killed_three_times_equals_undisturbed(tmp_path: Path) -> None:
    """Weights bit for bit, optimizers, loops, every row of the metrics file, the best score."""
    command = [sys.executable, "-m", "tests.cmr_lightning.runs.killing", str(tmp_path / "runs"), "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "differs in: nothing" in done.stdout


class Killed(NamedTuple):
    """A moment at which a process is killed: when it calls a function for the n-th time."""

    module: str
    function: str
    call: int


MOMENTS = {
    "before there is a checkpoint": Killed("cmr_lightning.runs.checkpoint_files.RunCheckpoints", "save_checkpoint", 1),
    "half the first checkpoint": Killed("torch", "save", 1),
    "the best was saved, the newest was not": Killed("torch", "save", 2),
    "half the newest checkpoint": Killed("torch", "save", 4),
    "trained, which was not noted": Killed("cmr_lightning.runs.run.Run", "write_summary", 1),
    "tested, and nothing written": Killed("cmr_lightning.callbacks.record", "save_ranks", 1),
    "everything but the record": Killed("cmr_lightning.evaluation.Record", "write", 1),
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Metrics of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    planned = PlannedRun(write_toy(folder / "toy.yaml"), 3, (), Run(folder / "run"))
    assert main(planned.fit) == main(planned.test) == 0
    return Record.read(planned.run.record).metrics


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS.values(), ids=MOMENTS)
def test_a_kill_changes_no_result(moment: Killed, toy: Path, no_pictures: None, undisturbed: dict[str, Any]) -> None:
    planned = PlannedRun(toy, 3, (), Run(toy.parent / "run"))
    assert killed([planned.fit, planned.test], moment) == -signal.SIGKILL
    assert not planned.run.record.exists()
    for command in job_of(planned).missing():
        assert main(command) == 0
    assert Record.read(planned.run.record).metrics == undisturbed
    assert planned.run.examples.exists()
    assert job_of(planned).missing() == []
    assert not list(planned.run.path.rglob("*.unfinished"))


def killed(commands: list[list[str]], moment: Killed) -> int:
    """Run commands in a copy of this process that kills itself at the moment, and say how it ended."""
    child = os.fork()
    if child == 0:
        _kill_at(moment)
        os._exit(max(main(command) for command in commands))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _kill_at(moment: Killed) -> None:
    owner = pkgutil.resolve_name(moment.module)
    function, calls = getattr(owner, moment.function), itertools.count(1)

    def killing(*arguments: Any, **options: Any) -> Any:
        if next(calls) < moment.call:
            return function(*arguments, **options)
        if moment.function == "save":
            arguments[1].write(b"half a checkpoint")
            arguments[1].flush()
        os.kill(os.getpid(), signal.SIGKILL)
        return None

    setattr(owner, moment.function, killing)
