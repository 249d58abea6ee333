import itertools
import os
import pkgutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

import pytest
import yaml

from cmr_lightning.__main__ import main
from cmr_lightning.evaluation import Record
from cmr_lightning.experiment import data_checksum, resolved_config
from cmr_lightning.files.file_lock import locked
from cmr_lightning.runs import execution
from cmr_lightning.runs.execution import Outcome, execute, missing_commands
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.run import Run
from tests.building import write_toy


@pytest.fixture
def planned(tmp_path: Path) -> PlannedRun:
    return PlannedRun(write_toy(tmp_path / "toy.yaml"), 3, ("--trainer.max_epochs=1",), Run(tmp_path / "run"))


def missing(planned: PlannedRun) -> list[str]:
    config = resolved_config(planned.fit)
    return [" ".join((c[0], *c[-1:])) for c in missing_commands(planned, config, data_checksum(config["data"]))]


def test_only_what_is_missing_is_done(planned: PlannedRun, no_pictures: None) -> None:
    test = f"test --config={planned.run.config}"
    assert missing(planned) == ["fit --overwrite=true", test]
    assert main(planned.fit) == 0
    assert missing(planned) == [test]
    assert main(planned.test) == 0
    assert missing(planned) == []


def test_an_interrupted_run_is_resumed(planned: PlannedRun) -> None:
    assert main(planned.fit) == 0
    (planned.run.path / "fit.json").unlink()
    assert missing(planned)[0] == "fit --resume=true"
    for path in planned.run.checkpoints():
        path.unlink()
    assert missing(planned)[0] == "fit --overwrite=true"


def test_other_settings_or_other_data_are_made_anew(planned: PlannedRun, no_pictures: None) -> None:
    assert main(planned.fit) == main(planned.test) == 0
    config = resolved_config(planned.fit)
    assert len(missing_commands(planned, config, "other data")) == 2
    other = PlannedRun(planned.experiment, 3, ("--trainer.max_epochs=2",), planned.run)
    assert missing(other)[0] == "fit --overwrite=true"


def test_resolved_config_is_what_a_run_writes(planned: PlannedRun) -> None:
    assert main(planned.fit) == 0
    written: dict[str, Any] = yaml.safe_load(planned.run.config.read_text())
    resolved = resolved_config(planned.fit)
    assert {**written, "experiment": None} == {**resolved, "experiment": None}


def test_the_reason_of_a_failure_is_told(planned: PlannedRun, tmp_path: Path) -> None:
    ends = execute(planned, lambda: [["test", f"--config={tmp_path / 'none.yaml'}"], planned.test], {})
    assert ends.error is not None
    assert "none.yaml" in ends.error
    assert "Traceback" not in ends.error


def test_a_run_that_another_process_works_on_is_waited_for(
    planned: PlannedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(execution, "_SECONDS_BETWEEN_QUESTIONS", 0.01)
    log, found, waits = planned.run.path.with_name("run.log"), [[["fit"]]], Event()

    def ends() -> bool:
        waits.set()
        return False

    with ThreadPoolExecutor() as pool:
        with locked(log):
            log.write_text("what the other one said")
            outcome = pool.submit(execute, planned, lambda: found[-1], {}, ends)
            assert waits.wait(60)
            found.append([])  # the other one has finished the run
        assert outcome.result(60) == Outcome(planned, 0.0)
    said = capsys.readouterr().out
    assert said == f"toy seed 3 waits, as another process still works on it (it holds {log}).\n"
    assert log.read_text() == "what the other one said"


def test_nobody_waits_longer_than_wanted(planned: PlannedRun) -> None:
    with locked(planned.run.path.with_name("run.log")):
        assert execute(planned, lambda: [planned.fit], {}, ends=lambda: True) == Outcome(planned, 0.0, stopped=True)


def test_a_run_ends_with_who_waits_for_it(planned: PlannedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[subprocess.Popen] = []

    class Interrupted(subprocess.Popen):
        def wait(self, timeout: float | None = None) -> int:
            if self not in processes:
                processes.append(self)
                raise KeyboardInterrupt
            return super().wait(timeout)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            execute(planned, lambda: [planned.fit], {})
    finally:
        signal.signal(signal.SIGINT, before)
    assert processes[0].wait(60) != 0
    assert not planned.run.finished


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
def test_killed_at_any_moment_a_run_ends_as_if_undisturbed(
    moment: Killed, tmp_path: Path, no_pictures: None, undisturbed: dict[str, Any]
) -> None:
    planned = PlannedRun(write_toy(tmp_path / "toy.yaml"), 3, (), Run(tmp_path / "run"))
    assert killed([planned.fit, planned.test], moment) == -signal.SIGKILL
    assert not planned.run.record.exists()
    for command in missing_commands(planned, *_as_it_is(planned)):
        assert main(command) == 0
    assert Record.read(planned.run.record).metrics == undisturbed
    assert planned.run.examples.exists()
    assert missing_commands(planned, *_as_it_is(planned)) == []
    assert not list(planned.run.path.rglob("*.unfinished"))


def _as_it_is(planned: PlannedRun) -> tuple[dict[str, Any], str]:
    config = resolved_config(planned.fit)
    return config, data_checksum(config["data"])


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
