import csv
from pathlib import Path

import pytest

from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run whose metrics file has rows of updates 10, 20 and 30."""
    run = Run(tmp_path / "seed0")
    log(run, [(10, {"loss": 1.0}), (20, {"loss": 0.5}), (30, {"loss": 0.25})])
    return run


def log(run: Run, rows: list[tuple[int, dict[str, float]]], keep_rows: int = 0) -> None:
    logger = MetricsFile(run, keep_rows)
    for step, metrics in rows:
        logger.log_metrics(metrics, step=step)
    logger.save()


def rows(run: Run) -> list[dict[str, str]]:
    return list(csv.DictReader((run.path / "metrics.csv").read_text().splitlines()))


def test_lies_straight_in_the_folder_of_the_run(run: Run) -> None:
    assert [path.name for path in run.path.iterdir()] == ["metrics.csv"]
    assert [(row["step"], row["loss"]) for row in rows(run)] == [("10", "1.0"), ("20", "0.5"), ("30", "0.25")]


def test_resumed_run_writes_on_and_replaces_what_came_after_its_checkpoint(run: Run) -> None:
    log(run, [(30, {"loss": 0.2}), (40, {"loss": 0.1})], keep_rows=2)
    found = [(row["step"], row["loss"]) for row in rows(run)]
    assert found == [("10", "1.0"), ("20", "0.5"), ("30", "0.2"), ("40", "0.1")]


def test_new_columns_are_added_when_a_run_goes_on(run: Run) -> None:
    log(run, [(40, {"loss": 0.1, "score": 3.0})], keep_rows=3)
    assert [row["score"] for row in rows(run)] == ["", "", "", "3.0"]
    assert [row["loss"] for row in rows(run)] == ["1.0", "0.5", "0.25", "0.1"]


def test_a_line_that_a_kill_cut_off_is_dropped(run: Run) -> None:
    path = run.path / "metrics.csv"
    path.write_text(path.read_text() + "0.125")
    log(run, [(40, {"loss": 0.1})], keep_rows=3)
    assert [row["step"] for row in rows(run)] == ["10", "20", "30", "40"]


def test_file_of_an_earlier_run_stands_until_something_is_logged(run: Run) -> None:
    MetricsFile(run)
    assert len(rows(run)) == 3


def test_nothing_is_kept_of_a_run_that_starts_anew(run: Run) -> None:
    log(run, [(10, {"score": 7.0})])
    assert rows(run) == [{"score": "7.0", "step": "10"}]
