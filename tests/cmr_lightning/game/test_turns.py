from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, LambdaCallback, ModelCheckpoint
from torch.optim.lr_scheduler import StepLR

from cmr_lightning.errors import UserError
from cmr_lightning.game.turns import frozen
from tests.building import sgd, without_dropout
from tests.cmr_lightning.game.playing import Norms, Pull, daml, same, trainer, two_lives
from tests.toy import Toy, toy_model


@pytest.mark.parametrize(("end", "updates"), [({"max_epochs": 1}, 6), ({"max_epochs": -1, "max_steps": 9}, 9)])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_steps_are_updates_of_the_generator(steps: int, end: dict[str, int], updates: int, data: Toy) -> None:
    turns: list[str] = []
    watch = LambdaCallback(on_before_optimizer_step=lambda trainer, model, optimizer: turns.append(model.player))
    fit = trainer(**end, callbacks=[watch])
    fit.fit(daml(data, discriminator_steps=steps), data)
    assert fit.global_step == updates
    assert turns == (["discriminator"] * steps + ["generator"]) * updates


def test_no_player_finds_gradients_of_an_update_before(data: Toy) -> None:
    model, left = daml(data, discriminator_steps=2), []
    watch = LambdaCallback(on_train_batch_end=lambda *_: left.append([p.grad for p in model.parameters()]))
    trainer(max_epochs=1, callbacks=[watch]).fit(model, data)
    assert left == [[None] * len(list(model.parameters()))] * 6


@pytest.mark.parametrize(("large", "accumulate"), [(48, 4), (96, 100)])  # 100 are more than an epoch has
def test_accumulated_gradients_equal_those_of_one_large_batch(large: int, accumulate: int) -> None:
    weights = []
    for batch_size, batches in ((large, 1), (12, accumulate)):
        data = Toy(batch_size=batch_size)
        torch.manual_seed(0)
        model = toy_model(Pull, data, generator_optimizer=sgd(0.5), accumulate=batches)
        without_dropout(model)
        trainer(max_epochs=1).fit(model, data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*weights, atol=1e-6)


@pytest.mark.parametrize(
    ("interval", "every", "batches"),
    [
        (2, 1, 0),  # found out before the training
        ("00:00:00:00", 1, 0),
        (8, None, 8),  # an epoch has six batches, so that two of the next wait
    ],
)
def test_validation_in_an_update_is_refused(interval: int | str, every: int | None, batches: int, data: Toy) -> None:
    fit = trainer(max_epochs=4, val_check_interval=interval, check_val_every_n_epoch=every)
    with pytest.raises(UserError, match=r"model\.accumulate = 3 .*trainer\.val_check_interval to a multiple"):
        fit.fit(daml(data, accumulate=3), data)
    assert fit.fit_loop.epoch_loop.total_batch_idx + 1 == batches


@pytest.mark.parametrize("settings", [{"val_check_interval": 3}, {"max_time": {"seconds": 0}}])
def test_validation_between_updates_or_at_the_end_is_none_of_these(settings: dict[str, Any], data: Toy) -> None:
    model = daml(data, accumulate=3)
    trainer(max_epochs=2, **settings).fit(model, data)
    assert model.measurement is not None


def test_test_part_is_not_read_by_fit(data: Toy) -> None:
    trainer(max_epochs=1).fit(daml(data), data)
    assert set(data.parts_read) == {"train", "val"}


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_gradients_are_clipped_per_player(player: str, data: Toy) -> None:
    norms = Norms()
    trainer(max_epochs=1, callbacks=[norms]).fit(daml(data, **{f"{player}_clip": 1e-3}), data)
    other = {"generator": "discriminator", "discriminator": "generator"}[player]
    assert max(norms.norms[player]) <= 1e-3 * 1.001
    assert max(norms.norms[other]) > 1e-3


def test_the_weight_of_an_alignment_follows_the_ramp(data: Toy) -> None:
    model, seen = daml(data, weights={"alignment": 0.5}), []
    watch = LambdaCallback(on_train_batch_start=lambda *_: seen.append(model.weight("alignment")))
    trainer(max_epochs=2, callbacks=[watch]).fit(model, data)
    assert seen[0] == 0
    assert seen == sorted(seen)
    q = 11 / 12
    assert seen[-1] == pytest.approx(0.5 * (2 / (1 + torch.exp(torch.tensor(-10 * q)).item()) - 1))


def test_ramp_needs_an_end(data: Toy) -> None:
    with pytest.raises(UserError, match=r"trainer\.max_epochs"):
        trainer(max_epochs=-1, max_time={"seconds": 20}).fit(daml(data), data)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_precisions_train(precision: str, data: Toy) -> None:
    model = daml(data)
    fit = trainer(max_epochs=8, precision=precision)
    fit.fit(model, data)
    assert model.measurement.metrics["map@all/cos/label"]["mean"] > 0.5


def test_averaged_weights_are_measured_and_saved(tmp_path: Path) -> None:
    """Lightning's callback averages what the generator's updates leave, and resumes exactly."""

    def run(epochs: int, resume: Path | None = None) -> dict[str, Any]:
        data = Toy()
        average = EMAWeightAveraging(decay=0.9)
        keep = ModelCheckpoint(tmp_path / str(epochs), filename="last", save_on_train_epoch_end=False)
        model = daml(data, ramp=False)
        pl.seed_everything(3, verbose=False)
        fit = trainer(max_epochs=epochs, callbacks=[average, keep], enable_checkpointing=True)
        fit.fit(model, data, ckpt_path=resume)
        return torch.load(tmp_path / str(epochs) / "last.ckpt", weights_only=True)

    run(1)
    resumed = run(2, tmp_path / "1" / "last.ckpt")
    (tmp_path / "2" / "last.ckpt").unlink()
    whole = run(2)
    for state in ("state_dict", "current_model_state"):
        assert all(torch.equal(whole[state][name], resumed[state][name]) for name in whole[state])
    assert not torch.equal(*(whole[s]["classifier.weight"] for s in ("state_dict", "current_model_state")))


@pytest.mark.parametrize("stop_at", [4, 9, 12])
def test_resumed_in_the_middle_of_an_epoch_equals_the_undisturbed_run(tmp_path: Path, stop_at: int) -> None:
    """Bit for bit, with dropout, two players and a schedule; an epoch has six batches."""
    make = partial(daml, discriminator_steps=2, schedule=partial(StepLR, step_size=1, gamma=0.5))
    assert same(*two_lives(make, stop_at, tmp_path, epochs=3))


def test_frozen_gives_gradients_back_after_an_error() -> None:
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), frozen(layer):
        assert not any(p.requires_grad for p in layer.parameters())
        _ = 1 / 0
    assert all(p.requires_grad for p in layer.parameters())
