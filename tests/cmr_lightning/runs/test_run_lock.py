"""One command at a time works on a run's folder."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.errors import UserError
from cmr_lightning.files.file_lock import is_locked, locked
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.run_lock import RunLock
from tests.building import Built, write_toy

pytestmark = pytest.mark.usefixtures("no_pictures")


@contextmanager
def beside(work: Callable[[], None]) -> Iterator[int]:
    """A copy of this process that does something and then waits to be killed."""
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        work()
        os.write(tell, b".")
        time.sleep(600)
    os.read(ready, 1)
    try:
        yield child
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(ready)
        os.close(tell)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that was trained."""
    folder = tmp_path_factory.mktemp("locked")
    fit = ["fit", f"--config={write_toy(folder / 'toy.yaml')}", f"--run_dir={folder / 'run'}"]
    assert main([*fit, "--trainer.max_epochs=1"]) == 0
    return Run(folder / "run")


@pytest.mark.parametrize("command", ["fit", "fit --resume=true", "fit --overwrite=true", "test", "predict"])
def test_a_second_command_is_refused_and_changes_nothing(
    command: str, finished: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()}
    name, *options = command.split()
    with locked(finished.lock):
        assert main([name, f"--config={finished.config}", *options]) == 2
    assert f"error: Another process still works on {finished.path}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in finished.path.rglob("*") if path.is_file()} == before


def test_validate_writes_nothing_and_may_look_on(finished: Run) -> None:
    with locked(finished.lock):
        assert main(["validate", f"--config={finished.config}"]) == 0


def test_the_lock_is_held_until_the_command_ends_however_it_does(toy: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    options = [f"--config={toy}", f"--run_dir={run.path}", "--trainer.max_epochs=1"]
    assert main(["fit", *options]) == 0
    assert main(["fit", *options]) == 2
    assert main(["fit", *options, "--overwrite=true", "--model.weights.inter=nan"]) == 2
    assert not is_locked(run.lock)
    other = RunLock()
    with beside(lambda: other.take(run)):
        assert is_locked(run.lock)
    assert not is_locked(run.lock)


def test_two_that_begin_at_once_in_a_new_folder_do_not_both_begin(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one makes the folder after this one looked, and has ended when this one would begin, or has not."""
    taken = RunLock.take
    for ended in (False, True):
        folder = tmp_path / f"run{ended}"
        fit = ["fit", f"--config={toy}", f"--run_dir={folder}", "--trainer.max_epochs=1"]
        with RunLock() as other:

            def take(lock: RunLock, run: Run, other: RunLock = other, ended: bool = ended) -> None:
                taken(other, run)
                run.prepare(overwrite=False)
                run.config.write_text("# of the other one\n")
                if ended:
                    other.__exit__()
                taken(lock, run)

            monkeypatch.setattr(RunLock, "take", take)
            assert main(fit) == 2
        error = capsys.readouterr().err
        assert "holds an unfinished run" in error if ended else "Another process still works on" in error
        assert (folder / "config.yaml").read_text() == "# of the other one\n"


def test_a_copy_of_a_process_does_not_keep_its_lock(tmp_path: Path) -> None:
    """Such as one that reads pictures, and lives for some seconds when the training is killed."""
    run = Run(tmp_path / "run")
    with RunLock() as lock:
        lock.take(run)
        child = os.fork()
        if child == 0:
            time.sleep(600)
        with pytest.raises(UserError), locked(run.lock):
            pass
    try:
        assert not is_locked(run.lock)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_command_that_fails_before_it_begins_leaves_no_folder_and_the_earlier_run_whole(
    toy: Path, tmp_path: Path, finished: Run
) -> None:
    before = finished.metrics.read_text()
    wrong = [f"--config={toy}", "--trainer.accelerator=tpu"]
    assert main(["fit", *wrong, f"--run_dir={tmp_path / 'new'}"]) == 2
    assert not (tmp_path / "new").exists()
    assert main(["fit", *wrong, f"--run_dir={finished.path}", "--overwrite=true"]) == 2
    assert finished.metrics.read_text() == before
    assert finished.finished


def test_only_the_first_of_several_processes_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.utilities.rank_zero.rank_zero_only.rank", 1)
    with RunLock() as lock:
        lock.take(Run(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# Whose folder it is --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slurm", [False, True])
def test_a_thesis_in_a_folder_with_a_config_survives_fit(
    slurm: bool, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "thesis"
    folder.mkdir()
    for name in ("config.yaml", "thesis.tex", "metrics.csv"):
        (folder / name).write_text("years of work")
    if slurm:
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert main(["fit", f"--config={toy}", f"--run_dir={folder}", *([] if slurm else ["--overwrite=true"])]) == 2
    assert "is not the folder of a run, but holds config.yaml, metrics.csv" in capsys.readouterr().err
    left = {path.name: path.read_text() for path in folder.iterdir()}
    assert left == dict.fromkeys(("config.yaml", "thesis.tex", "metrics.csv"), "years of work")


@pytest.mark.parametrize(
    "option",
    [
        "--experiment=../../x",
        "--experiment=",
        "--experiment=.",
        "--experiment=a\nseed_everything: 7",
        "--run_dir=a\nb",
        "--run_dir=",
    ],
)
def test_names_that_lead_out_of_runs_or_hold_two_lines_are_refused(
    option: str, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["fit", f"--config={toy}", option]) == 2
    error = capsys.readouterr().err
    assert ("--run_dir is" if "run_dir" in option else "The experiment cannot be called") in error
    assert list(tmp_path.rglob("config.yaml")) == []


def test_commands_that_are_printed_can_be_pasted(toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "a;touch x"
    assert main(["fit", f"--config={toy}", f"--run_dir={run}", "--trainer.max_epochs=1"]) == 0
    command = f"python -m cmr_lightning test --config '{run}/config.yaml'"
    assert f"Next: {command}\n" in capsys.readouterr().out
    assert (run / "config.yaml").read_text().startswith(f"# {command}\n")


def test_parts_can_be_built_again_and_again(toy: Path, tmp_path: Path) -> None:
    for _ in range(2):
        Built(["fit", f"--config={toy}", f"--run_dir={tmp_path / 'built'}"])
    assert not (tmp_path / "built").exists()
