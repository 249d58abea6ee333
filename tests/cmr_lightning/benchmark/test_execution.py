import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cmr_lightning.__main__ import main
from cmr_lightning.benchmark.execution import execute, missing_commands
from cmr_lightning.benchmark.plan import PlannedRun
from cmr_lightning.cli import data_checksum, resolved_config
from cmr_lightning.errors import UserError
from cmr_lightning.runs import Run
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
    planned.run.last.unlink()
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
    ends = execute(planned, [["test", f"--config={tmp_path / 'none.yaml'}"], planned.test], {})
    assert ends.error is not None
    assert "none.yaml" in ends.error
    assert "Traceback" not in ends.error


def test_a_run_that_another_process_works_on_is_left_alone(planned: PlannedRun) -> None:
    log = planned.run.path.with_name("run.log")
    hold = f"import fcntl, sys; f = open({str(log)!r}, 'ab'); fcntl.flock(f, fcntl.LOCK_EX); print(1); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-uc", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        with pytest.raises(UserError, match="another process still works on it"):
            execute(planned, [planned.fit], {})
        holder.communicate("")
