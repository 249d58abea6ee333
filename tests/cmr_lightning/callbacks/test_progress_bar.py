from __future__ import annotations

import re

import pytest

from cmr_lightning.callbacks import RunProgress
from cmr_lightning.callbacks import progress_bar as progress
from cmr_lightning.methods.triplet import Triplet
from tests.building import trainer
from tests.toy import Toy, encoder

LINE = re.compile(r"fit (\d+)/(\d+|\?) batches  [0-9.]+/s  ([0-9.]+ s|\?) remaining")


def lines(capsys: pytest.CaptureFixture[str], bar: RunProgress, **settings: object) -> list[tuple[int, str]]:
    data = Toy()
    model = Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8)
    fit = trainer(enable_progress_bar=True, callbacks=[bar], limit_val_batches=None, log_every_n_steps=1, **settings)
    fit.fit(model, data)
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("fit ")]
    found = [LINE.match(line) for line in printed]
    assert all(found)
    return [(int(match[1]), match[2]) for match in found if match]


def test_last_line_alone_for_a_short_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, RunProgress(), max_epochs=2) == [(12, "12")]


def test_a_line_now_and_then_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    found = lines(capsys, RunProgress(), max_epochs=2)
    assert [done for done, _ in found] == [*range(1, 13), 12]
    assert {total for _, total in found} == {"12"}


def test_total_follows_max_steps_and_is_unknown_without_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(capsys, RunProgress(), max_epochs=-1, max_steps=8) == [(8, "8")]
    assert lines(capsys, RunProgress(), max_epochs=-1, max_time={"seconds": 1})[0][1] == "?"


def test_loss_and_score_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    data = Toy()
    fit = trainer(
        enable_progress_bar=True, callbacks=[RunProgress()], max_epochs=1, limit_val_batches=None, log_every_n_steps=2
    )
    fit.fit(Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8), data)
    assert re.search(r"loss [0-9.e-]+  score 0\.\d+", capsys.readouterr().out)


def test_other_processes_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    bar = RunProgress()
    bar.disable()
    assert lines(capsys, bar, max_epochs=1) == []


def test_terminal_gets_one_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    assert lines(capsys, RunProgress(), max_epochs=1) == []
