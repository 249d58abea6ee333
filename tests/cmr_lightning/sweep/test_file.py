import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmr_lightning.errors import UserError
from cmr_lightning.sweep.file import EarlyTermination, SweepFile, read_sweep
from tests.cmr_lightning.sweep.made import METRIC, SWEEP


def read(tmp_path: Path, **changes: Any) -> SweepFile:
    path = tmp_path / "sweep.yaml"
    content = {**SWEEP, **changes}
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value != "absent"}))
    return read_sweep(path)


def test_the_command_gives_experiment_and_options_but_not_what_the_agent_needs(tmp_path: Path) -> None:
    command = ["${env}", "${interpreter}", "-m", "${program}", "fit", "--config", "experiments/x.yaml", "${args}"]
    command += shlex.split("--trainer.logger=WandbLogger --trainer.logger.project p --run_dir=r --trainer.max_epochs 3")
    sweep = read(tmp_path, command=command)
    assert sweep.experiment == Path("experiments/x.yaml")
    assert sweep.options == ("--trainer.max_epochs=3",)


def test_metric_and_method(tmp_path: Path) -> None:
    sweep = read(tmp_path, metric={"name": METRIC}, run_cap=7)
    assert (sweep.method, sweep.metric, sweep.maximize, sweep.run_cap) == ("bayes", METRIC, False, 7)


@pytest.mark.parametrize(
    ("early", "expected"),
    [({"min_iter": 3}, (3, 3)), ({"min_iter": 2, "eta": 2}, (2, 2)), ({"max_iter": 27, "s": 2}, (3, 3))],
)
def test_early_termination(tmp_path: Path, early: dict[str, int], expected: tuple[int, int]) -> None:
    assert read(tmp_path, early_terminate={"type": "hyperband", **early}).early_terminate == EarlyTermination(*expected)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"method": "annealing"}, "must be one of bayes, random, grid"),
        ({"metric": {"name": "test/map@all/cos/label/mean"}}, "sees the validation part only"),
        ({"metric": {"name": "loss"}}, "sees the validation part only"),
        ({"metric": {"name": METRIC, "goal": "max"}}, "must be minimize or maximize"),
        ({"metric": {"name": METRIC, "target": 1}}, "`metric.target` cannot be obeyed"),
        ({"early_terminate": {"type": "median"}}, "of type hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "either min_iter or max_iter"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 3, "strict": True}}, "`early_terminate.strict`"),
        ({"early_terminate": {"type": "hyperband", "max_iter": 3, "s": 3}}, "measured once"),
        ({"command": ["${program}", "${args}"]}, "must call `fit`"),
        ({"command": ["fit", "--config=x.yaml"]}, "hold ${args}"),
        ({"command": ["fit", "${args}"]}, "one experiment by --config"),
        ({"parameters": "absent"}, "`parameters` is missing"),
        ({"command": 3}, "`command` is 3, but must be a list of words"),
        ({"metric": METRIC}, "but must be a name and a goal"),
        ({"parameters": ["a"]}, "`parameters` is ['a'], but must be names with their distributions"),
        ({"parameters": {"a": 3}}, "a"),
        ({"run_cap": "20"}, "`run_cap` is '20', but must be a whole number"),
        ({"run_cap": True}, "`run_cap` is True"),
        ({"early_terminate": {"type": "hyperband", "min_iter": "3"}}, "`early_terminate.min_iter` is '3'"),
        ({"method": "grid"}, "a grid needs lists of values, which model.generator_optimizer.lr does not have"),
        ({"controller": {"type": "local"}}, "`controller` cannot be obeyed"),
    ],
)
def test_what_is_wrong_is_said_with_the_file(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=rf"sweep\.yaml.*{re.escape(said)}"):
        read(tmp_path, **changes)


@pytest.mark.parametrize(("text", "said"), [("a: [", "not YAML"), ("- a", "holds no keys")])
def test_files_that_are_no_sweeps(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "sweep.yaml"
    with pytest.raises(UserError, match="no sweep file"):
        read_sweep(path)
    path.write_text(text)
    with pytest.raises(UserError, match=said):
        read_sweep(path)
