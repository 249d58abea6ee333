from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import Callback, LambdaCallback, Timer

from cmr_lightning.callbacks import BestCheckpoint, End, FirstBatch, LastCheckpoint, TrainingTime
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy, toy_model

SCORE = "val/map@all/cos/label/mean"


def fit(run: Run, accumulate: int = 1, more: list[Callback] | None = None, **settings: Any) -> tuple[int, list[int]]:
    """Train, six batches an epoch; return the updates that were made, and those after which there was a validation."""
    data, validated, best = Toy(), [], BestCheckpoint(run, SCORE, "max")
    note = LambdaCallback(on_validation_end=lambda fitting, model: validated.append(fitting.global_step))
    callbacks = [*(more or []), note, best, LastCheckpoint(run, {}), End(best)]
    whole = {"limit_val_batches": None, "num_sanity_val_steps": 0, "enable_checkpointing": True}
    fitting = trainer(callbacks=callbacks, **whole, **settings)
    fitting.fit(toy_model(Triplet, data, accumulate=accumulate), data)
    return fitting.global_step, validated


@pytest.fixture
def time_of_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second passes whenever a timer looks at the clock, which it does once a batch."""
    looks = iter(range(1000))
    monkeypatch.setattr(Timer, "time_elapsed", lambda *_: next(looks) / 10)


@pytest.mark.usefixtures("time_of_batches")
@pytest.mark.parametrize("every", [1, 100])
def test_training_whose_time_is_over_ends_with_a_validation_and_its_checkpoints(every: int, tmp_path: Path) -> None:
    settings = {"max_time": {"seconds": 1}, "max_epochs": 1000, "check_val_every_n_epoch": every}
    updates, validated = fit(Run(tmp_path), **settings)
    assert 6 < updates < 12
    assert validated == ([6, updates] if every == 1 else [updates])
    assert torch.load(Run(tmp_path).last, weights_only=True)["global_step"] == updates
    assert Run(tmp_path).best.exists()


@pytest.mark.usefixtures("time_of_batches")
def test_time_is_not_over_in_the_middle_of_an_update(tmp_path: Path) -> None:
    """Of four batches, or of the two that are left at the end of an epoch."""
    batches: list[int] = []
    note = LambdaCallback(on_train_batch_end=lambda fitting, model, outputs, batch, number: batches.append(number))
    updates, validated = fit(Run(tmp_path), 4, [note], max_time={"seconds": 1}, max_epochs=1000)
    assert (updates, validated) == (3, [2, 3])
    assert batches == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ({"max_steps": 3}, 3),
        ({"max_steps": 8, "check_val_every_n_epoch": 2}, 8),
        ({"max_epochs": 1, "val_check_interval": "00:10:00:00"}, 6),
        ({"max_epochs": 2, "check_val_every_n_epoch": 3}, 12),
    ],
)
def test_training_too_short_for_a_validation_ends_with_one(
    settings: dict[str, Any], updates: int, tmp_path: Path
) -> None:
    assert fit(Run(tmp_path), **settings) == (updates, [updates])


def test_no_validation_is_added_where_there_was_one(tmp_path: Path) -> None:
    assert fit(Run(tmp_path), max_epochs=3, check_val_every_n_epoch=2) == (18, [12])


def test_start_comes_once_and_before_the_first_batch(tmp_path: Path) -> None:
    events: list[str] = []

    def noting(event: str) -> Callable[..., None]:
        return lambda *_: events.append(event)

    note = LambdaCallback(on_train_epoch_start=noting("epoch"), on_train_batch_start=noting("batch"))
    fit(Run(tmp_path), more=[FirstBatch(noting("start")), note], max_steps=2)
    assert events == ["epoch", "start", "batch", "batch"]


def test_time_of_a_training_counts_its_earlier_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("cmr_lightning.callbacks.ending.time.monotonic", lambda: now[0])
    first, second = TrainingTime(), TrainingTime()
    assert first.seconds == 0
    first.on_train_start(None, None)  # type: ignore[arg-type]
    now[0] = 107.0
    second.load_state_dict(first.state_dict())
    now[0] = 1000.0
    second.on_train_start(None, None)  # type: ignore[arg-type]
    now[0] = 1002.0
    second.on_train_end(None, None)  # type: ignore[arg-type]
    now[0] = 2000.0
    assert second.seconds == 9
