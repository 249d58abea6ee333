"""Sweeps from the command line, whose trials only pretend to train, and one whose trials really do."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from cmr_lightning.__main__ import main
from cmr_lightning.experiment import resolved_config
from cmr_lightning.files.file_lock import locked
from cmr_lightning.sweep.run_sweep import saved_by_pruning
from tests.building import ROOT
from tests.cmr_lightning.sweep.made import EPOCHS, METRIC, Pretence, pretend, write_sweep

LR = "model.generator_optimizer.lr"
MODE = "model.alignment.mode"
HYPERBAND = {"type": "hyperband", "min_iter": 2, "eta": 2}
Said = Callable[[], str]


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    pretence = Pretence()
    monkeypatch.setattr("cmr_lightning.sweep.running.execute", pretence)
    monkeypatch.setattr("cmr_lightning.sweep.sweep_command.start_server", lambda: None)
    return pretence


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    monkeypatch.setattr("cmr_lightning.sweep.sweep_command.start_server", lambda: None)
    return pretend(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sweep file, whose trials are kept in `swept` beside it."""
    return write_sweep(tmp_path)


def sweep(path: Path, count: int, *options: str) -> int:
    return main(["sweep", f"--config={path}", f"--count={count}", f"--folder={path.parent / 'swept'}", *options])


def trials(path: Path) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="swept", storage=f"sqlite:///{path.parent}/swept/study.db").trials


def test_finds_the_best_and_writes_it_as_an_experiment(path: Path, pretence: Pretence, said: Said) -> None:
    assert sweep(path, 12) == 0
    found = trials(path)
    assert pretence.started == list(range(12))
    assert found[0].params == {LR: 0.01, MODE: "reversal"}, "the experiment as it is written comes first"
    assert {trial.state for trial in found} == {TrialState.COMPLETE}
    printed = said()
    assert "[12/12]" in printed
    assert "Pruning" not in printed
    best = max(found, key=lambda trial: trial.value)
    winner = path.parent / "swept/experiments/toy.yaml"
    command = winner.read_text().splitlines()[0].removeprefix("# python -m cmr_lightning ")
    assert command in printed
    assert f"Trial {best.number}, the best of 12 of {path}, seed 0: {METRIC}" in winner.read_text().splitlines()[1]
    resolved = resolved_config(command.split())["model"]["init_args"]
    assert resolved["generator_optimizer"]["init_args"]["lr"] == best.params[LR]
    assert resolved["alignment"]["init_args"]["mode"] == best.params[MODE]
    for name in ("history", "slices", "importance"):
        assert (path.parent / "swept" / f"{name}.png").stat().st_size > 5000


def test_ended_trials_are_never_run_again(path: Path, quick: Pretence, said: Said) -> None:
    assert sweep(path, 2) == 0
    assert sweep(path, 4) == 0
    assert "2 are done" in said()
    assert sweep(path, 4) == 0
    assert quick.started == [0, 1, 2, 3]
    assert len({trial.params[LR] for trial in trials(path)}) == 4, "a new process draws something new"


def test_ctrl_c_leaves_a_study_that_goes_on_and_ends_like_an_undisturbed_one(
    path: Path, tmp_path_factory: pytest.TempPathFactory, quick: Pretence, said: Said
) -> None:
    calm, disturbed = path, write_sweep(tmp_path_factory.mktemp("disturbed"))
    assert sweep(calm, 5) == 0
    quick.started.clear()
    quick.interrupt_at = 3
    with pytest.raises(SystemExit) as stop:
        sweep(disturbed, 5)
    assert stop.value.code == 130
    assert "3 of 5 trials are done; the same command continues." in said()
    assert trials(disturbed)[3].state == TrialState.RUNNING
    assert sweep(disturbed, 5) == 0
    assert quick.started == [0, 1, 2, 3, 3, 4]
    one, other = ([(trial.params, trial.value) for trial in trials(each)] for each in (calm, disturbed))
    assert one == other


def test_a_trial_that_somebody_runs_is_left_alone(path: Path, quick: Pretence, monkeypatch: pytest.MonkeyPatch) -> None:
    quick.interrupt_at = 1
    with pytest.raises(SystemExit):
        sweep(path, 2)
    quick.started.clear()
    held, released = threading.Event(), threading.Event()

    def somebody() -> None:
        with locked(path.parent / "swept/trials/001.lock"):
            held.set()
            released.wait(60)

    def score(study: optuna.Study, *rest: Any) -> None:
        told(study, *rest)
        released.set()

    told = optuna.Study.tell
    monkeypatch.setattr(optuna.Study, "tell", score)
    with ThreadPoolExecutor() as pool:
        pool.submit(somebody)
        assert held.wait(60)
        assert sweep(path, 3) == 0
    assert quick.started == [2, 1], "first what is free, then what was left behind meanwhile"
    assert {trial.state for trial in trials(path)} == {TrialState.COMPLETE}


def test_pruning_ends_bad_trials_early_and_says_what_it_saved(tmp_path: Path, quick: Pretence, said: Said) -> None:
    path = write_sweep(tmp_path, early_terminate=HYPERBAND, method="random")
    assert sweep(path, 10) == 0
    found = trials(path)
    pruned = [trial for trial in found if trial.state == TrialState.PRUNED]
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    assert pruned
    assert {trial.last_step for trial in pruned} <= {2, 4, 8}
    assert all(trial.last_step == EPOCHS for trial in complete)
    best = max(complete, key=lambda trial: trial.value)
    assert all(abs(trial.intermediate_values[2]) <= best.intermediate_values[2] for trial in pruned)
    saved = sum(EPOCHS - (trial.last_step or 0) for trial in pruned)  # an epoch pretends to take a second
    printed = said()
    assert f"Pruning ended {len(pruned)} of 10 trials early" in printed
    assert f"{saved} s saved" in printed


def test_trials_that_nobody_watched_do_not_count_for_the_time_saved() -> None:
    def ended(state: TrialState, seconds: float | None) -> optuna.trial.FrozenTrial:
        value = 1.0 if state == TrialState.COMPLETE else None
        return optuna.trial.create_trial(state=state, value=value, user_attrs={"seconds": seconds})

    watched = [ended(TrialState.COMPLETE, 10.0), ended(TrialState.PRUNED, 4.0)]
    unwatched = [ended(TrialState.COMPLETE, None), ended(TrialState.PRUNED, None)]
    assert saved_by_pruning([*watched, *unwatched]) == (
        "Pruning ended 2 of 4 trials early, after 4 s instead of 10 s on average: 6 s saved beside 14 s spent."
    )
    assert saved_by_pruning(unwatched) == "Pruning ended 1 of 2 trials early."


def test_a_grid_ends_by_itself(tmp_path: Path, quick: Pretence) -> None:
    grid = {LR: {"values": [0.1, 0.01]}, MODE: {"values": ["reversal", "entropy"]}}
    path = write_sweep(tmp_path, method="grid", parameters=grid)
    assert sweep(path, 20, "--jobs=2") == 0
    drawn = sorted((trial.params[LR], trial.params[MODE]) for trial in trials(path))
    assert drawn == list(product(("0.01", "0.1"), ("entropy", "reversal")))


def test_other_options_are_those_of_fit_and_stay_in_the_winner(path: Path, quick: Pretence) -> None:
    assert sweep(path, 1, "--trainer.max_epochs=3") == 0
    winner = yaml.safe_load((path.parent / "swept/experiments/toy.yaml").read_text())
    assert winner["trainer"]["max_epochs"] == 3


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_failed_trial_stops_no_other_and_is_tried_again(jobs: int, path: Path, quick: Pretence, said: Said) -> None:
    quick.failing = {0, 2}
    for _ in range(2):
        quick.started.clear()
        assert sweep(path, 4, f"--jobs={jobs}") == 0
        printed = said()
        assert "trial 0 failed: the GPU is taken" in printed
        assert "the best of 2 trials" in printed
        assert "Failed and not counted: trial 0, trial 2; once the reason is gone, the same command tries" in printed
    assert sorted(quick.started) == [0, 2]
    quick.failing = set()
    assert sweep(path, 4, f"--jobs={jobs}") == 0
    printed = said()
    assert "the best of 4 trials" in printed
    assert "not counted" not in printed
    assert [trial.state for trial in trials(path)] == [TrialState.COMPLETE] * 4
    assert trials(path)[0].params == {LR: 0.01, MODE: "reversal"}, "the experiment as it is written"


def test_trials_that_all_fail_end_the_sweep_until_the_reason_is_gone(path: Path, quick: Pretence, said: Said) -> None:
    quick.failing = {0, 1, 2}
    assert sweep(path, 3) == 2
    printed = said()
    assert "All 3 trials failed; once the reason is gone, the same command tries them again. " in printed
    assert "again. The last one failed because: the GPU is taken" in printed
    assert sweep(path, 2) == 2
    assert "No trial succeeded; once the reason is gone" in said()
    assert quick.started == [0, 1, 2, 0, 1]
    quick.failing = set()
    assert sweep(path, 3) == 0
    assert quick.started == [0, 1, 2, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"parameters": {"model.generator_optimizer.rate": {"min": 0.1, "max": 0.2}}}, [], "rate"),
        ({"parameters": {MODE: {"values": ["reversal", "revesal"]}}}, [], "revesal"),
        ({"metric": {"name": "val/map@all/l2/label/mean"}}, [], "is never logged; what is: val/map@"),
        ({}, ["--trainer.max_epoch=3"], "max_epoch"),
        ({}, ["--jobs=0"], "--jobs at least 1"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(
    changes: dict[str, Any], options: list[str], message: str, tmp_path: Path, pretence: Pretence, said: Said
) -> None:
    assert sweep(write_sweep(tmp_path, **changes), 2, *options) == 2
    assert message in said()
    assert not pretence.started


def test_without_optuna_it_is_said_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch, said: Said) -> None:
    monkeypatch.setattr("cmr_lightning.sweep.sweep_command.find_spec", lambda name: None)
    assert main(["sweep", f"--config={path}", "--count=1"]) == 2
    assert "need Optuna; install it with `pip install cmr_lightning[sweep]`" in said()


def test_trials_of_another_experiment_are_not_mixed_in(path: Path, quick: Pretence, said: Said) -> None:
    assert sweep(path, 1) == 0
    assert sweep(path, 2, "--trainer.max_epochs=3") == 2
    assert "differs in trainer.max_epochs" in said()


def test_an_experiment_outside_the_ranges_is_said_to_be_no_trial(tmp_path: Path, quick: Pretence, said: Said) -> None:
    assert sweep(write_sweep(tmp_path, parameters={LR: {"min": 0.1, "max": 0.2}}), 1) == 0
    assert f"not among them: {LR}: 0.01 is not between 0.1 and 0.2." in said()


@pytest.mark.slow
def test_killed_and_started_again_it_runs_no_trial_twice(path: Path) -> None:
    folder = path.parent / "swept"
    words = [sys.executable, "-m", "cmr_lightning", "sweep", f"--config={path}", "--count=2", f"--folder={folder}"]
    words.append("--trainer.max_epochs=1")
    first = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL)
    log = folder / "trials" / "000.log"
    deadline = time.monotonic() + 120
    while not log.exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGKILL)  # its trial goes on without it
    first.wait()
    subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert [trial.state for trial in trials(path)] == [TrialState.COMPLETE] * 2
    for number in range(2):
        run = folder / "trials" / f"{number:03d}"
        assert "unfinished" not in (folder / "trials" / f"{number:03d}.log").read_text()
        kept = json.loads((run / "fit.json").read_text())["selection"]["value"]
        assert kept == pytest.approx(trials(path)[number].value)
        assert not (run / "record.json").exists(), "a sweep never sees the test part"
    unwatched, watched = (trial.user_attrs["seconds"] for trial in trials(path))
    assert unwatched is None
    assert watched > 0


def test_a_sweep_goes_on_in_a_folder_that_was_moved(path: Path, quick: Pretence, said: Said) -> None:
    assert sweep(path, 1) == 0
    moved = (path.parent / "swept").rename(path.parent / "was it here")
    assert sweep(path, 2, f"--folder={moved}") == 0
    assert "2 trials (bayes" in (printed := said())
    assert ", 1 are done;" in printed
    assert sorted(run.name for run in (moved / "trials").iterdir() if run.is_dir()) == ["000", "001"]


@pytest.mark.parametrize("folder", ["a\nb", "", "what?", "50%"])
def test_folders_that_cannot_hold_a_sweep_are_refused(folder: str, path: Path, quick: Pretence, said: Said) -> None:
    assert sweep(path, 1, f"--folder={folder}") == 2
    assert "error: --folder is " in said()
    assert not (path.parent / "swept").exists()
