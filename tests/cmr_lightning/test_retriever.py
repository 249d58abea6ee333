from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.cli import ReduceLROnPlateau
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from cmr_lightning.batch import Pairs
from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.losses import paired_difference
from cmr_lightning.methods.daml import DAML
from cmr_lightning.precision import TwoPlayerPrecision
from cmr_lightning.retriever import Retriever, frozen
from tests import building
from tests.building import sgd
from tests.toy import Toy, encoder


def daml(data: Toy, **kwargs: Any) -> DAML:
    torch.manual_seed(1)
    return DAML(data.spec, encoder, encoder, **{"dim": 8, "discriminator": ModalityClassifier, **kwargs})


def trainer(**settings: Any) -> pl.Trainer:
    return building.trainer(**{"limit_val_batches": 1.0, **settings})


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_global_step_counts_generator_updates(steps: int) -> None:
    data = Toy()
    fit = trainer(max_epochs=1)
    fit.fit(daml(data, discriminator_steps=steps), data)
    assert fit.global_step == len(data.train_dataloader()) == 6


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_max_steps_stops_after_that_many_generator_updates(steps: int) -> None:
    data = Toy()
    updates = CountSteps()
    fit = trainer(max_steps=9, max_epochs=-1, callbacks=[updates])
    fit.fit(daml(data, discriminator_steps=steps), data)
    assert fit.global_step == 9
    assert updates.turns == (["discriminator"] * steps + ["generator"]) * 9


class CountSteps(pl.Callback):
    def __init__(self) -> None:
        self.turns: list[str] = []

    def on_before_optimizer_step(self, trainer: pl.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.turns.append(pl_module._player)


def test_accumulation_makes_one_update_of_several_batches_and_of_the_rest() -> None:
    data = Toy()
    fit = trainer(max_epochs=1)
    fit.fit(daml(data, accumulate=4), data)
    assert fit.global_step == 2


class Pull(Retriever):
    """Only draws pairs together: a loss that is a mean over pairs, so batches can be put together."""

    terms: ClassVar[Mapping[str, float]] = {"pair": 1.0}
    adversarial_terms: ClassVar[tuple[str, ...]] = ()

    def generator_losses(self, batch: Pairs, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"pair": paired_difference(*embeddings)}


def test_accumulated_gradients_equal_those_of_one_large_batch() -> None:
    weights = []
    for batch_size, accumulate in ((48, 1), (12, 4)):
        data = Toy(batch_size=batch_size)
        torch.manual_seed(0)
        model = Pull(data.spec, encoder, encoder, dim=8, generator_optimizer=sgd(0.5), accumulate=accumulate)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0
        trainer(max_epochs=1).fit(model, data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.allclose(*weights, atol=1e-6)


def test_test_part_is_not_read_by_fit() -> None:
    data = Toy()
    trainer(max_epochs=1).fit(daml(data), data)
    assert set(data.parts_read) == {"train", "val"}


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_gradients_are_clipped_per_player(player: str) -> None:
    data = Toy()
    norms = Norms()
    clip = {f"{player}_clip": 1e-3}
    trainer(max_epochs=1, callbacks=[norms]).fit(daml(data, **clip), data)
    other = {"generator": "discriminator", "discriminator": "generator"}[player]
    assert max(norms.norms[player]) <= 1e-3 * 1.001
    assert max(norms.norms[other]) > 1e-3


class Norms(pl.Callback):
    """Gradient norms at the steps, seen after clipping: hooks of callbacks run before those of the module."""

    def __init__(self) -> None:
        self.norms: dict[str, list[float]] = {"generator": [], "discriminator": []}

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        clip = pl_module.on_before_optimizer_step

        def clip_and_look(optimizer: torch.optim.Optimizer) -> None:
            clip(optimizer)
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            self.norms[pl_module._player].append(torch.stack([g.norm() for g in gradients]).norm().item())

        pl_module.on_before_optimizer_step = clip_and_look


def test_adversarial_weight_follows_the_ramp() -> None:
    data = Toy()
    model = daml(data, weights={"adversarial": 0.5})
    seen: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            seen.append(model._weight("adversarial"))

    trainer(max_epochs=2, callbacks=[Watch()]).fit(model, data)
    assert seen[0] == 0
    assert seen == sorted(seen)
    q = 11 / 12
    assert seen[-1] == pytest.approx(0.5 * (2 / (1 + torch.exp(torch.tensor(-10 * q)).item()) - 1))


def test_ramp_needs_an_end() -> None:
    data = Toy()
    with pytest.raises(UserError, match=r"trainer\.max_epochs"):
        trainer(max_epochs=-1, max_time={"seconds": 20}).fit(daml(data), data)


def test_unknown_weight_is_refused() -> None:
    with pytest.raises(UserError, match="innter"):
        daml(Toy(), weights={"innter": 1.0})


def test_adversarial_weight_without_adversary_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.discriminator"):
        daml(Toy(), discriminator=None)


class Astray(Pull):
    """Its term `log` is not a number from the third update on."""

    terms: ClassVar[Mapping[str, float]] = {"pair": 1.0, "log": 1.0}

    def generator_losses(self, batch: Pairs, embeddings: Embeddings) -> dict[str, Tensor]:
        argument = torch.tensor(-1.0 if self.global_step == 3 else 1.0)
        return {**super().generator_losses(batch, embeddings), "log": argument.log() + embeddings.image.mean()}


def test_nan_loss_stops_and_names_the_term() -> None:
    data = Toy()
    with pytest.raises(UserError, match=r"after 3 updates, because the generator's loss `log` \(nan\) went out"):
        trainer(max_epochs=3).fit(Astray(data.spec, encoder, encoder, dim=8), data)


def test_large_half_precision_embeddings_are_not_taken_for_overflow() -> None:
    data = Toy()
    model = daml(data)
    model._check("embeddings of", {"image": torch.full((64, 64), 1e3, dtype=torch.float16)}, "nothing")


def test_diverged_weights_stop_and_name_the_embeddings() -> None:
    data = Toy()
    with pytest.raises(UserError, match=r"embeddings of `image` \(nan\), `text` \(nan\)"):
        trainer(max_epochs=3).fit(daml(data, generator_optimizer=sgd(float("nan"))), data)


def test_schedules_are_stepped_after_each_epoch_for_both_players() -> None:
    data = Toy()
    model = daml(data, schedule=lambda optimizer: StepLR(optimizer, 1, gamma=0.1), generator_optimizer=sgd(1.0))
    fit = trainer(max_epochs=2)
    fit.fit(model, data)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in fit.optimizers]
    assert rates == pytest.approx([1e-2, 1e-5])  # Adam's own default is 1e-3


def test_plateau_schedule_watches_the_validation_score() -> None:
    data = Toy()

    def plateau(optimizer: torch.optim.Optimizer) -> ReduceLROnPlateau:
        return ReduceLROnPlateau(optimizer, "score", mode="max", patience=0, factor=0.5)

    model = daml(data, schedule=plateau, generator_optimizer=sgd(0.0), discriminator_optimizer=sgd(1.0))
    fit = trainer(max_epochs=3)
    fit.fit(model, data)  # the generator does not move, so the score never improves on the first epoch's
    assert fit.optimizers[1].param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_precisions_train(precision: str) -> None:
    data = Toy()
    model = daml(data)
    fit = trainer(max_epochs=8, precision=precision)
    fit.fit(model, data)
    assert model.measurement is not None
    assert model.measurement.metrics["map@all/cos/label"]["mean"] > 0.5


def fp16(growth_interval: int) -> TwoPlayerPrecision:
    """fp16 on the CPU, from a scale at which nothing overflows."""
    precision = TwoPlayerPrecision("cpu")
    for player in precision._scalers:
        precision._scalers[player] = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=growth_interval)
    return precision


def test_fp16_keeps_a_scale_for_each_player() -> None:
    data = Toy()
    precision = fp16(growth_interval=2)
    model = daml(data, discriminator_steps=2, accumulate=2, generator_clip=1.0)
    trainer(max_epochs=1, plugins=[precision]).fit(model, data)
    scales = {player: scaler.get_scale() for player, scaler in precision._scalers.items()}
    assert scales == {"generator": 8 * 2**1, "discriminator": 8 * 2**3}  # after 3 and 6 steps, doubled at every second
    restored = TwoPlayerPrecision("cpu")
    restored.load_state_dict(precision.state_dict())
    assert {p: s.get_scale() for p, s in restored._scalers.items()} == scales


def test_fp16_gradients_equal_fp32_gradients_at_the_step() -> None:
    """The scale of one player never leaks into the gradients of the other."""
    norms = {}
    for name, plugins in (("fp16", [fp16(growth_interval=1)]), ("fp32", [])):
        data = Toy()
        watch = Norms()
        model = daml(data, discriminator_steps=2, accumulate=3)
        torch.manual_seed(0)
        trainer(max_epochs=1, plugins=plugins, callbacks=[watch]).fit(model, data)
        norms[name] = watch.norms
    for player in ("generator", "discriminator"):
        assert norms["fp16"][player] == pytest.approx(norms["fp32"][player], rel=0.05)


@pytest.mark.parametrize("stop_at", [4, 9, 12])
def test_resumed_in_the_middle_of_an_epoch_equals_the_undisturbed_run(tmp_path: Path, stop_at: int) -> None:
    """Bit for bit, with dropout, two players and a schedule; an epoch has six batches."""
    settings = {
        "discriminator_steps": 2,
        "schedule": lambda optimizer: StepLR(optimizer, 1, gamma=0.5),
    }

    def run(**kwargs: Any) -> tuple[dict[str, Tensor], pl.Trainer]:
        data = Toy()
        model = daml(data, **settings)
        resume = kwargs.pop("resume", None)
        fit = trainer(max_epochs=3, **kwargs)
        pl.seed_everything(5, verbose=False)
        if resume:
            torch.manual_seed(5)
            torch.rand(17)  # a resumed process has another random history
            data.train_dataloader = lambda load=data.train_dataloader: _seeded(load())  # type: ignore[method-assign]
        fit.fit(model, data, ckpt_path=resume)
        return {k: v.clone() for k, v in model.state_dict().items()}, fit

    whole, _ = run()
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=stop_at, save_top_k=-1)
    run(enable_checkpointing=True, callbacks=[keep])
    resumed, fit = run(resume=tmp_path / f"step={stop_at}.ckpt")
    assert fit.global_step == 18
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def _seeded(loader: Any) -> Any:
    assert loader.seed == 5
    return loader


def test_frozen_gives_gradients_back_after_an_error() -> None:
    layer = torch.nn.Linear(2, 2)
    with pytest.raises(ZeroDivisionError), frozen(layer):
        assert not any(p.requires_grad for p in layer.parameters())
        _ = 1 / 0
    assert all(p.requires_grad for p in layer.parameters())
