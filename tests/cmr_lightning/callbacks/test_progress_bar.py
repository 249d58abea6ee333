import re
from collections.abc import Callable

import pytest

from cmr_lightning.callbacks import RunProgress, progress_bar
from cmr_lightning.methods.triplet import Triplet
from tests.building import trainer
from tests.toy import Toy, toy_model

LINE = re.compile(r"fit (\d+)/(\d+|\?) batches  [0-9.]+/s  ([0-9.]+ s|\?) remaining  loss [0-9.e-]+")


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Trains with a bar, and returns `done/total` of the lines that were printed, and whether they had a score."""

    def train(bar: RunProgress | None = None, **settings: object) -> list[str]:
        data = Toy()
        quick = {"enable_progress_bar": True, "limit_val_batches": None, "log_every_n_steps": 1}
        fit = trainer(callbacks=[bar or RunProgress()], **quick, **settings)
        fit.fit(toy_model(Triplet, data), data)
        printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fit ")]
        assert all(LINE.match(line) for line in printed)
        return [line.split()[1] + " score" * ("  score 0." in line) for line in printed]

    return train


def test_last_line_alone_for_a_short_training(lines: Callable[..., list[str]]) -> None:
    assert lines(max_epochs=2) == ["12/12 score"]


def test_regular_lines_without_a_terminal(lines: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_bar, "_SECONDS_BETWEEN_LINES", 0.0)
    found = lines(max_epochs=2)
    assert [line.split()[0] for line in found] == [f"{done}/12" for done in [*range(1, 13), 12]]


def test_total_follows_max_steps_and_is_unknown_without_an_end(lines: Callable[..., list[str]]) -> None:
    assert lines(max_epochs=-1, max_steps=8) == ["8/8 score"]
    assert lines(max_epochs=-1, max_time={"seconds": 1})[0].split()[0].endswith("/?")


def test_other_processes_print_nothing(lines: Callable[..., list[str]]) -> None:
    bar = RunProgress()
    bar.disable()
    assert lines(bar, max_epochs=1) == []


def test_terminal_gets_one_bar(lines: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    assert lines(max_epochs=1) == []
