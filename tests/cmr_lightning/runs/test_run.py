from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.runs.run import Run, experiment_name, run_of_config


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was begun, and has a checkpoint."""
    run = Run(tmp_path / "seed0")
    run.last.parent.mkdir(parents=True)
    run.last.touch()
    run.config.touch()
    return run


def test_new_folder_is_free(tmp_path: Path) -> None:
    run = Run(tmp_path / "seed0")
    run.check(resume=False, overwrite=False)
    run.check(resume=False, overwrite=True)
    assert not (run.started or run.finished)


@pytest.mark.parametrize("finished", [False, True])
def test_folder_with_a_run_is_refused_unless_told_what_to_do(run: Run, finished: bool) -> None:
    if finished:
        run.write_summary({"epochs": 3})
    state = "a finished run" if finished else "an unfinished run"
    with pytest.raises(UserError, match=f"holds {state}; add --resume=true"):
        run.check(resume=False, overwrite=False)
    run.check(resume=True, overwrite=False)
    run.check(resume=False, overwrite=True)
    with pytest.raises(UserError, match="exclude each other"):
        run.check(resume=True, overwrite=True)


def test_resume_needs_a_checkpoint(run: Run) -> None:
    run.last.unlink()
    with pytest.raises(UserError, match="nothing to resume"):
        run.check(resume=True, overwrite=False)
    with pytest.raises(UserError, match="holds an unfinished run; add --overwrite=true"):
        run.check(resume=False, overwrite=False)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("file", "file is a file"),
        ("file/below/run", "file is a file"),
        ("x" * 5000, "File name too long"),
        ("closed/run", "closed is closed to you"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused(
    folder: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "closed")  # nothing is closed to root
    with pytest.raises(UserError, match=message):
        Run(tmp_path / folder).check(resume=False, overwrite=False)


def test_overwriting_empties_the_folder_of_a_run(run: Run) -> None:
    run.prepare(overwrite=True)
    assert list(run.path.iterdir()) == []


def test_interrupted_overwriting_leaves_nothing_to_resume_or_to_take_for_a_result(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.record.touch()
    run.write_summary({"epochs": 3})

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        run.prepare(overwrite=True)
    assert run.started
    assert not (run.finished or run.last.exists() or run.record.exists())


def test_overwriting_leaves_a_folder_alone_that_holds_no_run(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    Run(tmp_path).prepare(overwrite=True)
    assert (tmp_path / "thesis.tex").exists()


def test_resumed_run_is_unfinished_until_it_ends_again(run: Run) -> None:
    run.write_summary({"epochs": 3})
    run.prepare(overwrite=False)
    assert run.last.exists()
    with pytest.raises(UserError, match="holds no finished run"):
        run.read_summary()
    run.write_summary({"epochs": 5})
    assert run.read_summary() == {"epochs": 5}


@pytest.mark.parametrize(
    ("configs", "name"),
    [
        ([], "unnamed"),
        (["mine.yaml"], "mine"),
        (["somewhere/mine.yaml"], "mine"),
        (["experiments/wikipedia/daml.yaml"], "wikipedia/daml"),
        (["experiments/old/experiments/wikipedia/daml.yaml"], "wikipedia/daml"),
        (["experiments/wikipedia/daml.yaml", "experiments/wikipedia/long.yaml"], "wikipedia/daml+wikipedia-long"),
        (["experiments/wikipedia/daml.yaml", "long.yaml"], "wikipedia/daml+long"),
    ],
)
def test_experiment_is_named_after_its_files(configs: list[str], name: str) -> None:
    assert experiment_name([Path(config) for config in configs]) == name


def test_run_is_known_by_its_own_config_wherever_it_lies(run: Run, tmp_path: Path) -> None:
    moved = run.path.rename(tmp_path / "elsewhere")
    assert run_of_config([tmp_path / "other.yaml", moved / "config.yaml"]) == Run(moved)
    assert run_of_config([tmp_path / "config.yaml"]) is None
    assert run_of_config([]) is None
