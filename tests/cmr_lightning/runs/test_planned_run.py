from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmr_lightning.__main__ import main
from cmr_lightning.experiment import resolved_config
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.run import Run
from tests.cmr_lightning.runs.killing import job_of


@pytest.fixture
def planned(toy: Path) -> PlannedRun:
    return PlannedRun(toy, 3, ("--trainer.max_epochs=1",), Run(toy.parent / "run"))


def missing(planned: PlannedRun) -> list[str]:
    return [" ".join((command[0], *command[-1:])) for command in job_of(planned).missing()]


def test_only_what_is_missing_is_done(planned: PlannedRun, no_pictures: None) -> None:
    again, test = "fit --overwrite=true", f"test --config={planned.run.config}"
    assert missing(planned) == [again, test]
    assert main(planned.fit) == 0
    assert missing(planned) == [test]
    assert main(planned.test) == 0
    assert missing(planned) == []
    assert len(replace(job_of(planned), data_checksum="other data").missing()) == 2
    assert missing(replace(planned, options=("--trainer.max_epochs=2",))) == [again, test]
    planned.run.record.unlink()
    assert missing(replace(planned, options=("--trainer.max_epochs=2",))) == [again, test]


def test_an_interrupted_run_is_resumed(planned: PlannedRun) -> None:
    assert main(planned.fit) == 0
    (planned.run.path / "fit.json").unlink()
    assert missing(planned)[0] == "fit --resume=true"
    for path in planned.run.checkpoints():
        path.unlink()
    assert missing(planned)[0] == "fit --overwrite=true"


def test_resolved_config_is_what_a_run_writes(planned: PlannedRun) -> None:
    assert main(planned.fit) == 0
    written: dict[str, Any] = yaml.safe_load(planned.run.config.read_text())
    assert {**written, "experiment": None} == {**resolved_config(planned.fit), "experiment": None}
