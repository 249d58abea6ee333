"""What `fit` and its like are refused for before torch is imported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cmr_lightning.command_line.experiment_command import KEYS, refuse_early
from cmr_lightning.errors import UserError
from cmr_lightning.experiment import _Resolving
from cmr_lightning.runs.run import Run
from tests.building import ROOT

HEAVY = ("torch", "numpy", "pytorch_lightning", "jsonargparse")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """An unfinished run with its config, and a checkpoint from which it could be resumed."""
    run = Run(tmp_path / "run")
    run.prepare(overwrite=False)
    run.last.parent.mkdir(parents=True)
    run.last.touch()
    run.config.write_text(f"model: DAML\nrun_dir: {run.path}\nseed_everything: 0\n")
    return run


@pytest.mark.parametrize("command", KEYS)
def test_the_keys_are_those_of_the_parser(command: str, toy: Path) -> None:
    cli = _Resolving([command, f"--config={toy}"])
    found = {action.dest.partition(".")[0] for action in cli._parser(command)._actions}
    assert set(KEYS[command]) == found - {"config", "help", "print_config"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "--config=none.yaml"], "There is no config file none.yaml"),
        (["fit", "--config=broken.yaml"], "broken.yaml is not YAML: line 2"),
        (["fit", "--config=toy.yaml", "--modle.dim=3"], "a key modle.dim, which `fit` does not know"),
        (["fit", "--config=unknown.yaml"], "unknown.yaml has a key modle, which `fit` does not know"),
        (["test", "--config=toy.yaml", "--resume=true"], "a key resume, which `test` does not know"),
        (["test", "--config=toy.yaml"], "best.ckpt does not exist"),
        (["predict", "--config=toy.yaml", "--ckpt_path=none.ckpt"], "none.ckpt, given as --ckpt_path"),
        (["fit", "--config=toy.yaml", "--run_dir=run"], "run holds an unfinished run"),
        (["fit", "--config=toy.yaml", "--resume=true", "--seed_everything=3"], "There is nothing to resume"),
        (["fit", "--config=toy.yaml", "--run_dir=toy.yaml"], "as toy.yaml is a file"),
        (["fit", "--config=toy.yaml", "--run_dir"], "expected one argument"),
        (["benchmark", "--config=none.yaml"], "There is no config file none.yaml"),
        (["sweep", "--count=1", "--config=broken.yaml"], "broken.yaml is not YAML"),
        (["extract", "--config=/bin/ls"], "/bin/ls is not text in UTF-8"),
        (["report", "nowhere"], "nowhere holds no record.json"),
    ],
)
def test_what_can_be_refused_without_torch_is(
    arguments: list[str], message: str, run: Run, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All in one process that has imported nothing else."""
    (tmp_path / "broken.yaml").write_text("a: [1, 2\nb: 3")
    (tmp_path / "unknown.yaml").write_text("modle: {dim: 3}")
    monkeypatch.chdir(tmp_path)
    code = f"import sys; from cmr_lightning.__main__ import main; print(main({arguments!r}), *sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("2 "), done.stderr
    assert not set(HEAVY) & set(done.stdout.split())
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "options",
    [
        ["--run_dir=new"],
        ["--overwrite=true"],
        ["--resume=true"],
        ["--experiment=${oc.env:NAME}", "--run_dir=${oc.env:HOME}/x"],
        ["--run_dir=null", "--experiment=other"],
        ["--print_config"],
        ["--model.help"],
        ["--help"],
        ["--trainer.callbacks+=Timer", "--seed_everything=[1]"],
    ],
)
def test_what_may_be_right_is_left_to_the_parser(
    options: list[str], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_early("fit", [f"--config={run.config}", *options])


def test_the_later_of_options_and_files_wins(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refuse_early("fit", [f"--config={run.config}", "--run_dir=new"])
    with pytest.raises(UserError, match="holds an unfinished run"):
        refuse_early("fit", ["--run_dir=new", "-c", str(run.config)])


def test_the_config_of_a_moved_run_finds_its_checkpoint(run: Run, tmp_path: Path) -> None:
    moved = Run(Path(shutil.move(run.path, tmp_path / "moved")))
    with pytest.raises(UserError, match=r"moved/checkpoints/best\.ckpt does not exist"):
        refuse_early("test", [f"--config={moved.config}"])
    moved.best.touch()
    refuse_early("test", [f"--config={moved.config}"])


@pytest.mark.parametrize("rank", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_the_other_processes_of_a_group_find_the_folder_in_use(
    rank: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(rank, "1")
    refuse_early("fit", [f"--config={run.config}"])
