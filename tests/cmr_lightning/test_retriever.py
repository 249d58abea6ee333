from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, ModelCheckpoint
from pytorch_lightning.cli import ReduceLROnPlateau
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.optim.lr_scheduler import StepLR

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol
from cmr_lightning.game.schedules import WarmupCosine
from cmr_lightning.game.turns import frozen
from cmr_lightning.losses import paired_difference
from cmr_lightning.methods.daml import DAML
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from cmr_lightning.retriever import Retriever
from tests import building
from tests.building import sgd
from tests.toy import Toy, encoder


def daml(data: Toy, **kwargs: Any) -> DAML:
    torch.manual_seed(1)
    return DAML(
        spec=data.spec,
        image_encoder=encoder,
        text_encoder=encoder,
        **{"dim": 8, "discriminator": ModalityClassifier, **kwargs},
    )


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
        self.turns.append(pl_module.player)


def test_no_player_finds_gradients_of_an_update_before() -> None:
    data, left = Toy(), []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
            left.append([name for name, p in model.named_parameters() if p.grad is not None])

    trainer(max_epochs=1, callbacks=[Watch()]).fit(daml(data, discriminator_steps=2), data)
    assert left == [[]] * 6


def test_accumulation_makes_one_update_of_several_batches_and_of_the_rest() -> None:
    data = Toy()
    fit = trainer(max_epochs=1)
    fit.fit(daml(data, accumulate=4), data)
    assert fit.global_step == 2


class Pull(Retriever):
    """Only draws pairs together: a loss that is a mean over pairs, so batches can be put together."""

    terms: ClassVar[Mapping[str, float]] = {"pair": 1.0}
    adversarial_terms: ClassVar[tuple[str, ...]] = ()

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"pair": paired_difference(*embeddings.pair)}


@pytest.mark.parametrize(("large", "accumulate"), [(48, 4), (96, 100)])  # 100 are more than an epoch has
def test_accumulated_gradients_equal_those_of_one_large_batch(large: int, accumulate: int) -> None:
    weights = []
    for batch_size, batches in ((large, 1), (12, accumulate)):
        data = Toy(batch_size=batch_size)
        torch.manual_seed(0)
        model = Pull(
            spec=data.spec,
            image_encoder=encoder,
            text_encoder=encoder,
            dim=8,
            generator_optimizer=sgd(0.5),
            accumulate=batches,
        )
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0
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
def test_validation_in_the_middle_of_an_update_is_refused(interval: int | str, every: int | None, batches: int) -> None:
    data = Toy()
    fit = trainer(max_epochs=4, val_check_interval=interval, check_val_every_n_epoch=every)
    with pytest.raises(UserError, match=r"model\.accumulate = 3 .*trainer\.val_check_interval to a multiple"):
        fit.fit(daml(data, accumulate=3), data)
    assert fit.fit_loop.epoch_loop.total_batch_idx + 1 == batches


@pytest.mark.parametrize("settings", [{"val_check_interval": 3}, {"max_time": {"seconds": 0}}])
def test_validation_between_updates_or_at_the_end_is_none_of_these(settings: dict[str, Any]) -> None:
    data = Toy()
    model = daml(data, accumulate=3)
    trainer(max_epochs=2, **settings).fit(model, data)
    assert model.measurement is not None


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
            self.norms[pl_module.player].append(torch.stack([g.norm() for g in gradients]).norm().item())

        pl_module.on_before_optimizer_step = clip_and_look


def test_adversarial_weight_follows_the_ramp() -> None:
    data = Toy()
    model = daml(data, weights={"adversarial": 0.5})
    seen: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            seen.append(model.weight("adversarial"))

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


class NotANumber(Pull):
    """Its term `log` is not a number from the third update on."""

    terms: ClassVar[Mapping[str, float]] = {"pair": 1.0, "log": 1.0}

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        argument = torch.tensor(-1.0 if self.global_step == 3 else 1.0)
        return {**super().generator_losses(batch, embeddings), "log": argument.log() + embeddings.image.mean()}


def test_nan_loss_stops_and_names_the_term() -> None:
    data = Toy()
    with pytest.raises(UserError, match=r"after 3 updates, because the generator's loss `log` \(nan\) went out"):
        trainer(max_epochs=3).fit(NotANumber(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8), data)


@pytest.mark.parametrize(
    ("image", "text", "accuracy", "entropy"),
    [(30.0, -30.0, 1, 0), (1e-4, 1e-4, 0.5, math.log(2)), (0.0, 0.0, 0, math.log(2))],
)
def test_state_of_a_discriminator(image: float, text: float, accuracy: float, entropy: float) -> None:
    """A sure one, a fooled one, and one that is undecided, which is never right."""
    model = daml(Toy(), discriminator=lambda dim: Constant())
    state = model.discriminator_state(Embeddings(torch.full((4, 8), image), torch.full((4, 8), text)))
    assert state["discriminator_accuracy"] == accuracy
    assert state["discriminator_entropy"] == pytest.approx(entropy, abs=1e-6)


class Constant(torch.nn.Module):
    """The first number of a point, as its logit."""

    def forward(self, points: Tensor) -> Tensor:
        return points[:, 0]


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


@pytest.mark.parametrize(("metric", "right", "wrong"), [("r-precision", "max", "min"), ("median-rank", "min", "max")])
def test_plateau_schedule_that_takes_better_for_worse_is_refused(metric: str, right: str, wrong: str) -> None:
    data = Toy()
    data.protocols = (Protocol(metric, "label", "cos"),)
    trainer(max_epochs=1).fit(daml(data, schedule=partial(ReduceLROnPlateau, monitor="score", mode=right)), data)
    with pytest.raises(UserError, match=rf"{metric}.*set model\.schedule\.init_args\.mode to {right}"):
        trainer(max_epochs=1).fit(daml(data, schedule=partial(ReduceLROnPlateau, monitor="score", mode=wrong)), data)


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


def test_fp16_overflow_costs_a_player_one_update_and_is_counted(tmp_path: Path) -> None:
    data, precision = Toy(), fp16(growth_interval=1000)
    model = NotANumber(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8)
    moved: list[bool] = []

    class Watch(pl.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            self.before = torch.cat([p.detach().flatten() for p in model.parameters()])

        def on_train_batch_end(self, *_: Any) -> None:
            moved.append(not torch.equal(self.before, torch.cat([p.detach().flatten() for p in model.parameters()])))

    fit = trainer(
        max_epochs=1, plugins=[precision], callbacks=[Watch()], logger=CSVLogger(tmp_path), log_every_n_steps=6
    )
    fit.fit(model, data)
    assert moved == [True, True, True, False, True, True]
    assert precision.skipped == {"generator": 1}
    assert precision._scalers["generator"].get_scale() == 4
    assert precision._scalers["discriminator"].get_scale() == 8
    with next(tmp_path.rglob("metrics.csv")).open(newline="") as file:
        assert [row["train/generator/skipped"] for row in csv.DictReader(file) if row["train/generator/total"]] == ["1"]


def test_recent_loss_is_the_last_one_logged_and_until_then_the_mean_so_far(tmp_path: Path) -> None:
    recent = {}
    for log_every_n_steps in (1, 2, 50):
        data = Toy()
        torch.manual_seed(0)
        model = daml(data)
        assert model.losses.recent is None
        folder = tmp_path / str(log_every_n_steps)
        trainer(max_steps=4, logger=CSVLogger(folder), log_every_n_steps=log_every_n_steps).fit(model, data)
        recent[log_every_n_steps] = model.losses.recent
    with next((tmp_path / "1").rglob("metrics.csv")).open(newline="") as file:
        losses = [float(row["train/generator/total"]) for row in csv.DictReader(file) if row["train/generator/total"]]
    assert len(losses) == 4
    means = {1: losses[3], 2: sum(losses[2:]) / 2, 50: sum(losses) / 4}
    assert recent == pytest.approx(means)


class NeverANumber(Pull):
    """Its term is never a number."""

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"pair": super().generator_losses(batch, embeddings)["pair"] * torch.nan}


def test_fp16_gives_up_where_no_scale_helps() -> None:
    data = Toy()
    with pytest.raises(UserError, match="generator's gradients went out of range 4 times, and no scale helps"):
        model = NeverANumber(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8)
        trainer(max_epochs=1, plugins=[fp16(growth_interval=1000)]).fit(model, data)


def test_schedule_counts_updates_where_it_is_told_to() -> None:
    data, seen = Toy(), []

    class Watch(pl.Callback):
        def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: torch.optim.Optimizer) -> None:
            seen.append(optimizer.param_groups[0]["lr"])

    warm = partial(WarmupCosine, warmup=2, total=6)
    model = Pull(
        spec=data.spec,
        image_encoder=encoder,
        text_encoder=encoder,
        dim=8,
        generator_optimizer=sgd(1.0),
        schedule=warm,
        schedule_every="update",
    )
    trainer(max_epochs=1, callbacks=[Watch()]).fit(model, data)
    assert seen == pytest.approx([0.5, 1.0, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])


def test_compiled_encoders_train_to_the_same_weights_under_the_same_names() -> None:
    states = []
    for backend in (None, "eager"):
        data = Toy()
        model = daml(data, compile=backend)
        torch.manual_seed(0)
        trainer(max_epochs=2).fit(model, data)
        states.append(model.state_dict())
    assert model.image_encoder._compiled_call_impl is not None
    torch.testing.assert_close(states[0], states[1])


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
