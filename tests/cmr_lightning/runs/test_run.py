from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.run_of_command import experiment_name, run_of_config


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run that was begun, and has a checkpoint."""
    run = Run(tmp_path / "seed0")
    run.prepare(overwrite=False)
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


def test_overwriting_deletes_what_the_run_left_and_nothing_else(run: Run) -> None:
    (run.path / "checkpoints" / "mine.ckpt").touch()
    (run.path / "thesis.tex").touch()
    ours = ["metrics.csv", ".metrics.csv.unfinished", "hpc_ckpt_1.ckpt", "wandb.json", "neighbours.npz"]
    ours += ["other_conditions/12ab/record.json", "tensorboard/events.out.tfevents.1", "checkpoints/more/epoch=1.ckpt"]
    theirs = ["other_conditions/12ab/notes.txt", "tensorboard/mine/a.txt", "ranks.npz/a.txt"]
    for name in (*ours, *theirs):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).touch()
    run.prepare(overwrite=True)
    left = sorted(str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file())
    assert left == sorted(["checkpoints/mine.ckpt", "run.lock", "thesis.tex", *theirs])
    assert not (run.path / "checkpoints" / "more").exists()
    for name in ("checkpoints/mine.ckpt", "thesis.tex", *theirs):
        (run.path / name).unlink()
    (run.path / "ranks.npz").rmdir()
    run.prepare(overwrite=True)
    assert [path.name for path in run.path.iterdir()] == ["run.lock"]


def test_interrupted_overwriting_leaves_nothing_to_resume_or_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.record.touch()
    run.write_summary({"epochs": 3})

    unlink = Path.unlink

    def killed(path: Path, missing_ok: bool = False) -> None:
        if path == run.config:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        run.prepare(overwrite=True)
    assert run.started
    assert not (run.finished or run.last.exists() or run.record.exists())


@pytest.mark.parametrize(
    "name",
    ["config.yaml", "metrics.csv", "checkpoints/last.ckpt", "record.json", "run.log", "hpc_ckpt_1.ckpt", "fit.json"],
)
@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_a_folder_that_is_no_runs_is_refused_by_the_names_of_what_would_be_replaced(
    name: str, options: dict[str, bool], tmp_path: Path
) -> None:
    for path in (tmp_path / "thesis.tex", tmp_path / name):
        path.parent.mkdir(exist_ok=True)
        path.write_text("years of work")
    with pytest.raises(UserError, match=f"is not the folder of a run, but holds {name}, which a run would replace"):
        Run(tmp_path).check(**{"resume": False, "overwrite": False, **options})


def test_a_folder_with_other_files_becomes_that_of_a_run_and_they_stay(tmp_path: Path) -> None:
    """Such as what a cluster prints, which begins before the run does."""
    (tmp_path / "slurm.out").write_text("begun")
    run = Run(tmp_path)
    run.check(resume=False, overwrite=False)
    for _ in range(2):
        run.prepare(overwrite=True)
        run.config.touch()
    assert (tmp_path / "slurm.out").read_text() == "begun"


def test_a_lock_without_the_mark_of_fit_does_not_make_a_folder_that_of_a_run(tmp_path: Path) -> None:
    """`predict` may be told to write anywhere."""
    run = Run(tmp_path)
    run.lock.touch()
    run.metrics.touch()
    with pytest.raises(UserError, match=r"is not the folder of a run, but holds metrics\.csv,"):
        run.check(resume=False, overwrite=True)


def test_runs_from_before_there_were_marks_are_known_by_their_config_and_what_was_trained(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.config.write_text("# python -m cmr_lightning test --config runs/toy/seed0/config.yaml\nmodel: DAML\n")
    with pytest.raises(UserError, match=r"holds config\.yaml, which"):  # somebody's copy
        run.check(resume=False, overwrite=True)
    run.last.parent.mkdir()
    run.last.touch()
    run.check(resume=True, overwrite=False)
    run.prepare(overwrite=True)
    run.metrics.touch()
    run.check(resume=False, overwrite=True)


def test_resumed_run_is_unfinished_until_it_ends_again(run: Run) -> None:
    run.write_summary({"epochs": 3})
    run.prepare(overwrite=False)
    assert run.last.exists()
    with pytest.raises(UserError, match="holds no finished run"):
        run.read_summary()
    ended = {"epochs": 5, "selection": {"epoch": 4}, "wall_time_s": 2}
    run.write_summary(ended)
    assert run.read_summary() == ended


@pytest.mark.parametrize("text", ["", "{", "[]", '{"selection": {}}', '{"selection": 1, "wall_time_s": 2.0}'])
def test_a_damaged_summary_is_named(run: Run, text: str) -> None:
    (run.path / "fit.json").write_text(text)
    with pytest.raises(UserError, match=r"fit\.json is damaged: .*; run `fit` again\."):
        run.read_summary()


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


@pytest.mark.parametrize("config", ["a\nb.yaml", "experiments/..yaml", "experiments/a/ .yaml", "a\x1b[31m.yaml"])
def test_files_that_no_experiment_can_be_named_after_are_refused(config: str) -> None:
    with pytest.raises(UserError, match=r"The experiment of these files cannot be called '"):
        experiment_name([Path(config)])


def test_run_is_known_by_its_own_config_wherever_it_lies(run: Run, tmp_path: Path) -> None:
    moved = run.path.rename(tmp_path / "elsewhere")
    assert run_of_config([tmp_path / "other.yaml", moved / "config.yaml"]) == Run(moved)
    assert run_of_config([tmp_path / "config.yaml"]) is None
    assert run_of_config([]) is None
