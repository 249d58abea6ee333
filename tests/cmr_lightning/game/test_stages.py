import csv
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from cmr_lightning.callbacks import LastCheckpoint
from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.encoders import FeatureMLP
from cmr_lightning.errors import UserError
from cmr_lightning.game import AdversarialDiagnostics, Stage, TrainingStages
from cmr_lightning.game.alignments import ModalityAdversary
from cmr_lightning.methods.cca import CCA
from cmr_lightning.methods.info_max import InfoMax
from cmr_lightning.methods.miite import MIITE
from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy

BATCHES = 6
"""Batches in an epoch of the toy data."""

BACKBONE = "image_encoder.layers.1"
"""The first linear layer stands in for an image network."""

ENCODERS = ["image_encoder", "text_encoder"]
STAGES = [
    Stage("triplet", 1, players=["generator"], frozen=[BACKBONE], generator_lr=2e-2, weights={"alignment": 0.0}),
    Stage("discriminator", 2, players=["discriminator"], discriminator_lr=3e-3),
    Stage("both", 2, frozen=[BACKBONE]),
    Stage("all", 1, generator_lr=2e-4, ramp=False),
]


def miite(data: Toy, **kwargs: Any) -> MIITE:
    """A method with BatchNorm and dropout in its encoders, weight decay and momentum in its optimizers."""
    torch.manual_seed(1)
    encoder = partial(FeatureMLP, hidden=(16,), input_norm="standardize", dropout=0.1)
    encoders = {"image_encoder": encoder, "text_encoder": encoder, "dim": 8}
    adam = partial(Adam, lr=1e-2, weight_decay=0.1)
    optimizers = {"generator_optimizer": adam, "discriminator_optimizer": adam}
    game = {
        "alignment": partial(ModalityAdversary, discriminator=partial(ModalityClassifier, dropout=0.1)),
        "weights": {"alignment": 0.5},
    }
    return MIITE(spec=data.spec, **{**encoders, **optimizers, **game, **kwargs})


def fit(model: MIITE, data: Toy, stages: list[Stage], *callbacks: pl.Callback, **settings: Any) -> pl.Trainer:
    # what stages set must be in place before other callbacks look, so they come first
    fitted = trainer(**{"callbacks": [TrainingStages(stages), *callbacks], "max_epochs": 6, **settings})
    fitted.fit(model, data)
    return fitted


class Watch(pl.Callback):
    """What the training looks like at the start and at the end of each batch."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.requiring: list[set[str]] = []
        self.weights: list[float] = []
        self.rates: list[tuple[float, ...]] = []
        self.states: list[dict[str, Tensor]] = []
        self.gradients: list[set[str]] = []
        self.updates: list[int] = []

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        self.model = model
        self.epochs.append(trainer.current_epoch)
        self.requiring.append({name for name, p in model.named_parameters() if p.requires_grad})
        self.weights.append(model.weight("alignment"))
        self.rates.append(tuple(optimizer.param_groups[0]["lr"] for optimizer in trainer.optimizers))
        if not self.states:
            self.states.append(state(model))

    def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: torch.optim.Optimizer) -> None:
        self.gradients.append({name for name, p in model.named_parameters() if p.grad is not None})

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        self.states.append(state(model))
        self.updates.append(trainer.global_step)

    def moved(self, first: int, last: int) -> set[str]:
        """What differs between the start of epoch `first` and the end of epoch `last`."""
        before, after = self.states[first * BATCHES], self.states[(last + 1) * BATCHES]
        return {name for name in before if not torch.equal(before[name], after[name])}


def state(model: MIITE) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def names(model: MIITE, *modules: str) -> set[str]:
    return {name for name in model.state_dict() if name.startswith(modules)}


@pytest.fixture(scope="module")
def watched() -> Watch:
    """A whole training by these stages."""
    watch = Watch()
    fit(miite(Toy()), Toy(), STAGES, watch)
    return watch


def test_each_stage_has_its_parameters_require_gradients(watched: Watch) -> None:
    model = watched.model
    everything = {name for name, _ in model.named_parameters()}
    theirs, backbone = names(model, "alignment.discriminator."), names(model, f"{BACKBONE}.")
    thawed = everything - backbone
    expected = [thawed - theirs, theirs, theirs, thawed, thawed, everything]
    assert backbone
    assert watched.requiring == [expected[epoch] for epoch in watched.epochs]
    assert watched.epochs == [epoch for epoch in range(6) for _ in range(BATCHES)]


def test_each_stage_moves_weights_and_statistics_that_are_not_frozen(watched: Watch) -> None:
    model = watched.model
    everything = set(model.state_dict())
    theirs, backbone = names(model, "alignment.discriminator."), names(model, f"{BACKBONE}.")
    assert any("running_mean" in name for name in everything - theirs)
    assert watched.moved(0, 0) == everything - theirs - backbone
    assert watched.moved(1, 2) == theirs
    assert watched.moved(3, 4) == everything - backbone
    assert watched.moved(5, 5) == everything


def test_a_frozen_network_keeps_its_statistics_while_the_rest_of_its_encoder_learns(data: Toy) -> None:
    model, watch = miite(data), Watch()
    fit(model, data, [Stage("half", frozen=["image_encoder.layers.0"])], watch, max_epochs=1)
    assert not watch.moved(0, 0) & names(model, "image_encoder.layers.0.")
    assert watch.moved(0, 0) >= names(model, "image_encoder.layers.1.", "text_encoder.layers.0.")


def test_frozen_parameters_are_in_their_optimizer_without_gradients(watched: Watch) -> None:
    model = watched.model
    theirs, backbone = names(model, "alignment.discriminator."), names(model, f"{BACKBONE}.")
    steps = iter(watched.gradients)
    for epoch in watched.epochs:
        if epoch > 0:
            assert next(steps) == theirs
        if epoch not in (1, 2):
            seen = next(steps)
            assert not seen & theirs
            assert bool(seen & backbone) == (epoch == 5)
    assert next(steps, None) is None


def test_optimizers_hold_all_parameters_whatever_is_frozen(data: Toy) -> None:
    model = miite(data)
    fitted = fit(model, data, STAGES, max_epochs=1)
    held = {id(p) for optimizer in fitted.optimizers for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in model.parameters()}


def test_the_ramp_restarts_with_the_stage(watched: Watch) -> None:
    weights = watched.weights
    first, both, last = weights[:BATCHES], weights[3 * BATCHES : 5 * BATCHES], weights[5 * BATCHES :]
    assert first == [0] * BATCHES
    assert both[0] == 0
    assert both == sorted(both)
    assert both[-1] == pytest.approx(0.5, rel=1e-3)
    assert last == [0.5] * BATCHES


def test_stages_and_ramp_survive_accumulation(data: Toy) -> None:
    watch = Watch()
    fitted = fit(miite(data, accumulate=4), data, STAGES, watch)
    assert watch.epochs == [epoch for epoch in range(6) for _ in range(BATCHES)]
    assert fitted.global_step == 4 * 2  # two updates in each epoch in which the generator moves
    both = watch.weights[3 * BATCHES : 5 * BATCHES]
    assert both[0] == 0
    assert both[-1] == pytest.approx(0.5, rel=2e-3)  # three of four updates are done


def test_max_steps_ends_the_last_ramp(data: Toy) -> None:
    watch = Watch()
    stages = [Stage("alone", 1, players=["discriminator"]), Stage("both", ramp=True)]
    fitted = fit(miite(data), data, stages, watch, max_epochs=100, max_steps=10)
    assert fitted.global_step == 10
    assert watch.weights[BATCHES] == 0
    assert watch.weights[-1] == pytest.approx(0.5, rel=1e-3)


def test_stages_set_rates_and_give_the_configured_ones_back(watched: Watch) -> None:
    expected = [(2e-2, 1e-2), (1e-2, 3e-3), (1e-2, 3e-3), (1e-2, 1e-2), (1e-2, 1e-2), (2e-4, 1e-2)]
    assert watched.rates == [expected[epoch] for epoch in watched.epochs]


def test_a_schedule_goes_on_through_stages_without_rates(data: Toy) -> None:
    watch = Watch()
    model = miite(data, schedule=partial(StepLR, step_size=1, gamma=0.5))
    fit(model, data, [Stage("one", 1, frozen=[BACKBONE]), Stage("two")], watch, max_epochs=3)
    assert [rate for rate, _ in watch.rates[::BATCHES]] == pytest.approx([1e-2, 5e-3, 2.5e-3])


def test_global_step_stands_still_while_the_discriminator_moves_alone(watched: Watch, data: Toy) -> None:
    assert set(watched.updates[BATCHES : 3 * BATCHES]) == {BATCHES}
    fitted = fit(miite(data), data, [Stage("discriminator", players=["discriminator"])], max_epochs=2)
    assert (fitted.current_epoch, fitted.global_step) == (2, 0)


def test_after_the_training_the_model_is_as_it_was(watched: Watch, data: Toy) -> None:
    model = watched.model
    assert all(p.requires_grad for p in model.parameters())
    assert model.active == {"generator", "discriminator"}
    assert (model.weights["alignment"], model.ramp, model.stage_span) == (0.5, True, None)
    model = miite(data)
    fit(model, data, [Stage("discriminator", players=["discriminator"])], max_epochs=1)
    assert all(module.training for module in model.modules())


def test_parameters_that_were_frozen_before_stay_so(data: Toy) -> None:
    model, watch = miite(data), Watch()
    model.text_encoder.requires_grad_(False)
    model.text_encoder.eval()
    fit(model, data, [Stage("both")], watch, max_epochs=1)
    assert not watch.moved(0, 0) & names(model, "text_encoder.")


@pytest.mark.parametrize("stop_at", [3, 6, 9, 16, 18, 27, 33])
def test_a_run_resumed_within_a_stage_equals_the_undisturbed_run(tmp_path: Path, stop_at: int) -> None:
    """Bit for bit; `stop_at` counts batches, so that every stage is stopped in its middle or at its end."""

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == stop_at:
                trainer.save_checkpoint(tmp_path / "stop.ckpt")

    def run(*callbacks: pl.Callback, resume: Path | None = None) -> tuple[dict[str, Tensor], Watch]:
        data = Toy()
        model, watch = miite(data), Watch()
        fitted = trainer(max_epochs=6, callbacks=[TrainingStages(STAGES), watch, *callbacks])
        pl.seed_everything(5, verbose=False)
        fitted.fit(model, data, ckpt_path=resume)
        return state(model), watch

    whole, undisturbed = run(Stop())
    resumed, watch = run(resume=tmp_path / "stop.ckpt")
    for seen in ("epochs", "requiring", "weights", "rates"):
        assert getattr(watch, seen) == getattr(undisturbed, seen)[stop_at:]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_the_last_checkpoint_follows_each_validation_though_global_step_stands_still(tmp_path: Path, data: Toy) -> None:
    run = Run(tmp_path)
    saved: list[int] = []
    look = LambdaCallback(on_train_epoch_end=lambda *_: saved.append(torch.load(run.last, weights_only=True)["epoch"]))
    stages = [STAGES[0], Stage("discriminator", players=["discriminator"])]
    settings = {"enable_checkpointing": True, "limit_val_batches": 1.0, "max_epochs": 3}
    fit(miite(data), data, stages, look, LastCheckpoint(run, {}), **settings)
    assert saved == [0, 1, 2]


def test_the_discriminators_losses_are_logged_while_it_moves_alone(tmp_path: Path, data: Toy) -> None:
    stages = [Stage("discriminator", 2, players=["discriminator"]), Stage("both")]
    logger = MetricsFile(Run(tmp_path))
    fit(miite(data), data, stages, max_epochs=3, logger=logger, log_every_n_steps=BATCHES)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/discriminator/modality"]]
    assert [(row["epoch"], row["step"]) for row in rows] == [("0", "0"), ("1", "0"), ("2", str(BATCHES))]
    losses = [float(row["train/discriminator/modality"]) for row in rows]
    assert 0.8 > losses[0] > losses[1] > 0


def test_the_game_can_be_watched_while_an_encoder_is_frozen(tmp_path: Path, data: Toy) -> None:
    watched = {"logger": MetricsFile(Run(tmp_path)), "max_epochs": 1}
    fit(miite(data, ramp=False), data, [Stage("half", frozen=["text_encoder"])], AdversarialDiagnostics(1), **watched)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        found = [row["game/gradient_share"] for row in csv.DictReader(file)]
    shares = [float(share) for share in found if share]
    assert len(shares) == BATCHES
    assert all(0 < share < 1 for share in shares)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "empty"),
        ([Stage("one"), Stage("two")], "'one' has no epochs"),
        ([Stage("one", players=[])], "nobody moves"),
    ],
)
def test_impossible_stages_are_refused(stages: list[Stage], message: str) -> None:
    with pytest.raises(UserError, match=message):
        TrainingStages(stages)


@pytest.mark.parametrize(
    ("stage", "settings", "message"),
    [
        (Stage("one", frozen=["image_encoder.layer"]), {}, "freezes image_encoder.layer, which is no module"),
        (Stage("one", frozen=ENCODERS), {}, "leaves nothing to train of generator"),
        (Stage("one", frozen=["alignment.discriminator"]), {}, "nothing to train of discriminator"),
        (Stage("one", players=["discriminator", "generator"], frozen=ENCODERS), {}, "nothing to train of generator"),
        (
            Stage("one", players=["discriminator"], frozen=["alignment.discriminator"]),
            {},
            "nothing to train of discriminator",
        ),
        (Stage("one", players=["discriminator"]), {"alignment": None}, "nothing to train of discriminator"),
        (Stage("one", weights={"tripplet": 1.0}), {}, "tripplet"),
        (Stage("one", weights={"triplet": 0.0, "alignment": 0.0}), {}, "the weights of all terms are 0"),
        (Stage("one", weights={"alignment": 1.0}), {"alignment": None}, r"set model\.alignment"),
        (Stage("one", discriminator_lr=1.0), {"alignment": None}, r"set model\.alignment"),
        (Stage("one", generator_lr=1.0), {"schedule": partial(StepLR, step_size=1)}, r"model\.schedule"),
        (Stage("one", 5), {}, r"trainer\.max_epochs is 6, but the stages end after 5"),
    ],
)
def test_stages_must_fit_the_model(stage: Stage, settings: dict[str, Any], message: str, data: Toy) -> None:
    if settings.get("alignment", "") is None:
        settings = {**settings, "weights": {}}
    with pytest.raises(UserError, match=message):
        fit(miite(data, **settings), data, [stage])


def test_a_term_whose_network_was_not_built_is_refused(data: Toy) -> None:
    model = InfoMax(spec=data.spec, image_encoder=FeatureMLP, text_encoder=FeatureMLP, weights={"text_image": 0.0})
    stages = TrainingStages([Stage("apart", 1), Stage("informed", weights={"text_image": 1.0})])
    with pytest.raises(UserError, match=r"'informed'.* gives text_image a weight.* in model\.weights too"):
        trainer(max_epochs=2, callbacks=[stages]).fit(model, data)


def test_stages_need_an_end_in_epochs(data: Toy) -> None:
    with pytest.raises(UserError, match=r"trainer\.max_epochs"):
        fit(miite(data), data, [Stage("one")], max_epochs=-1, max_steps=5)


def test_stages_that_are_never_reached_are_named(data: Toy) -> None:
    with pytest.warns(UserWarning, match="never reached: both, all"):
        fit(miite(data), data, STAGES, max_epochs=2)


def test_a_closed_form_has_no_stages(data: Toy) -> None:
    model = CCA(data.spec, components=2)
    with pytest.raises(UserError, match="CCA"):
        trainer(max_epochs=1, limit_train_batches=1, callbacks=[TrainingStages([Stage("one")])]).fit(model, data)
