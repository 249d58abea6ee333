from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from cmr_lightning.benchmark import jobs
from cmr_lightning.benchmark.jobs import find_jobs
from cmr_lightning.experiment import data_checksum, resolved_config
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.settings import changes
from tests.building import write_toy
from tests.toy import Toy


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Resolves configs as ever, and knows how often it was called."""
    resolving = Mock(wraps=resolved_config)
    monkeypatch.setattr(jobs, "resolved_config", resolving)
    return resolving


class Splits(Toy):
    """The toy data with several splits, which all hold the same."""

    def __init__(self, split: int | str = 0, batch_size: int = 16, **kwargs: Any) -> None:
        super().__init__(batch_size, **kwargs)


def plan(folder: Path, dropout: str = "0.1", row: str | None = None, splits: Any = (None,) * 4) -> list[PlannedRun]:
    """Four runs of one experiment."""
    toy = write_toy(folder / "toy.yaml")
    text = toy.read_text().replace("dropout: 0.1", f"dropout: {dropout}").replace("tests.toy.Toy", f"{__name__}.Splits")
    toy.write_text(text)
    options = ("--trainer.max_epochs=1", "--model.image_encoder.init_args.hidden=[4]")
    return [PlannedRun(toy, n, options, Run(folder / f"run{n}"), row, split) for n, split in enumerate(splits)]


@pytest.mark.parametrize(
    ("changes", "times"),
    [({}, 2), ({"row": "small"}, 2), ({"splits": (0, "odd", 2, 1)}, 2), ({"dropout": '"0.${seed_everything}"'}, 6)],
    ids=["seeds", "variant", "splits", "computed from the seed"],
)
def test_configs_are_those_of_the_runs_and_resolved_once_where_they_can_be(
    changes: dict[str, Any], times: int, tmp_path: Path, resolving: Mock
) -> None:
    planned = plan(tmp_path, **changes)
    todo, outcomes = find_jobs(planned)
    assert resolving.call_count == times
    assert not outcomes
    for job, run in zip(todo, planned, strict=True):
        assert job.planned == run
        assert job.config == resolved_config(run.fit)
        assert job.data_checksum == data_checksum(job.config["data"])


def test_what_is_laid_over_a_config_is_what_the_command_line_would_set(tmp_path: Path, resolving: Mock) -> None:
    laid = (("model.image_encoder.hidden", [8, 8]), ("data.regime.paired", 20), ("model.weights", {"label": 0.5}))
    varied = [replace(run, row=f"toy_v{n}", laid=laid[:n]) for n, run in enumerate(plan(tmp_path))]
    todo, outcomes = find_jobs(varied)
    assert (resolving.call_count, outcomes) == (2, [])
    for job, run in zip(todo, varied, strict=True):
        assert changes(job.config, resolved_config(run.fit)) == {}


def test_an_error_is_that_of_all_runs_that_share_it(tmp_path: Path, resolving: Mock) -> None:
    todo, outcomes = find_jobs(plan(tmp_path, dropout="much"))
    assert not todo
    assert [outcome.planned.seed for outcome in outcomes] == [0, 1, 2, 3]
    assert len({outcome.error for outcome in outcomes}) == 1
    assert resolving.call_count == 2
