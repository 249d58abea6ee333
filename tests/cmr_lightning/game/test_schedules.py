import math
import re
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.cli import ReduceLROnPlateau
from torch.optim import SGD, Adadelta, Adafactor, Adagrad, Adam, AdamW, NAdam, RMSprop, Rprop
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, OneCycleLR, StepLR

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol
from cmr_lightning.game.schedules import WarmupCosine, try_out
from tests.building import sgd
from tests.cmr_lightning.game.playing import Pull, daml, trainer
from tests.toy import Toy, toy_model


def test_schedules_are_stepped_after_each_epoch_for_both_players(data: Toy) -> None:
    model = daml(data, schedule=partial(StepLR, step_size=1, gamma=0.1), generator_optimizer=sgd(1.0))
    fit = trainer(max_epochs=2)
    fit.fit(model, data)
    rates = [optimizer.param_groups[0]["lr"] for optimizer in fit.optimizers]
    assert rates == pytest.approx([1e-2, 1e-5])  # Adam's own default is 1e-3


def test_plateau_schedule_watches_the_validation_score(data: Toy) -> None:
    plateau = partial(ReduceLROnPlateau, monitor="score", mode="max", patience=0, factor=0.5)
    model = daml(data, schedule=plateau, generator_optimizer=sgd(1e-30), discriminator_optimizer=sgd(1.0))
    fit = trainer(max_epochs=3)
    fit.fit(model, data)  # the generator does not move, so the score never improves on the first epoch's
    assert fit.optimizers[1].param_groups[0]["lr"] == 0.25


@pytest.mark.parametrize(("metric", "right", "wrong"), [("r-precision", "max", "min"), ("median-rank", "min", "max")])
def test_plateau_that_takes_better_for_worse_is_refused(metric: str, right: str, wrong: str, data: Toy) -> None:
    data.protocols = (Protocol(metric, "label", "cos"),)
    trainer(max_epochs=1).fit(daml(data, schedule=partial(ReduceLROnPlateau, monitor="score", mode=right)), data)
    with pytest.raises(UserError, match=rf"{metric}.*set model\.schedule\.init_args\.mode to {right}"):
        trainer(max_epochs=1).fit(daml(data, schedule=partial(ReduceLROnPlateau, monitor="score", mode=wrong)), data)


def test_schedule_counts_updates_where_it_is_told_to(data: Toy) -> None:
    seen: list[float] = []
    watch = LambdaCallback(
        on_before_optimizer_step=lambda _, __, optimizer: seen.append(optimizer.param_groups[0]["lr"])
    )
    warm = partial(WarmupCosine, warmup=2, total=6)
    model = toy_model(Pull, data, generator_optimizer=sgd(1.0), schedule=warm, schedule_every="update")
    trainer(max_epochs=1, callbacks=[watch]).fit(model, data)
    assert seen == pytest.approx([0.5, 1.0, 1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (partial(Adam, lr=-1.0), r"model\.generator_optimizer cannot be used as it is set: Invalid learning rate"),
        (partial(Adam, lr=0.0), r"model\.generator_optimizer\.init_args\.lr is 0\.0, but should be greater than 0"),
        (partial(Adam, lr=math.nan), r"model\.generator_optimizer .*nan"),
        (partial(Adam, lr=math.inf), r"model\.generator_optimizer\.init_args\.lr is inf"),
        (partial(SGD, lr=1e30), r"model\.generator_optimizer\.init_args\.lr is 1e\+30"),
        (partial(SGD, lr=None), r"model\.generator_optimizer cannot be used"),
        (partial(Adam, betas=(0.9, 1.5)), "Invalid beta"),
        (partial(Adam, betas=(-1.0, 0.9)), "Invalid beta"),
        (partial(Adam, eps=0.0), r"init_args\.eps is 0\.0"),
        (partial(Adam, eps=math.inf), r"init_args\.eps is inf"),
        (partial(Adam, weight_decay=-1.0), "Invalid weight_decay"),
        (partial(Adam, weight_decay=math.inf), r"init_args\.weight_decay is inf"),
        (partial(SGD, lr=0.1, momentum=1.0), r"init_args\.momentum is 1\.0"),
        (partial(SGD, lr=0.1, momentum=math.nan), r"init_args\.momentum is nan"),
        (partial(SGD, lr=0.1, dampening=-1.0), r"init_args\.dampening is -1\.0"),
    ],
)
def test_an_optimizer_by_which_nothing_can_be_learned_is_refused(settings: Any, message: str, data: Toy) -> None:
    with pytest.raises(UserError, match=message):
        daml(data, generator_optimizer=settings).configure_optimizers()
    with pytest.raises(UserError, match=message.replace("generator", "discriminator")):
        daml(data, discriminator_optimizer=settings).configure_optimizers()


@pytest.mark.parametrize("kind", [Adam, AdamW, SGD, RMSprop, Adagrad, Adadelta, NAdam, Adafactor, Rprop])
def test_optimizers_of_torch_are_taken_with_their_defaults(kind: type, data: Toy) -> None:
    daml(data, generator_optimizer=kind).configure_optimizers()


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (partial(StepLR, step_size=0), "model.schedule cannot be used as it is set: "),
        (partial(StepLR, step_size=-1), "model.schedule.init_args.step_size is -1"),
        (partial(StepLR, step_size=3, gamma=-1.0), "model.schedule makes a learning rate of -"),
        (partial(StepLR, step_size=3, gamma=math.nan), "model.schedule.init_args.gamma is nan"),
        (partial(StepLR, step_size=3, gamma=math.inf), "model.schedule makes a learning rate of inf"),
        (partial(StepLR, step_size=3, last_epoch=0), "model.schedule cannot be used as it is set: "),
        (partial(CosineAnnealingLR, T_max=0), "model.schedule cannot be used as it is set: "),
        (partial(OneCycleLR, max_lr=0.1, total_steps=4), "model.schedule cannot be used as it is set: Tried to step 5"),
        (partial(WarmupCosine, warmup=-1, total=5), "warmup of WarmupCosine is -1"),
        (partial(ReduceLROnPlateau, monitor="score", mode="max", factor=1.0), "model.schedule cannot be used"),
    ],
)
def test_a_schedule_that_cannot_be_followed_is_refused_before_the_first_batch(
    schedule: Any, message: str, data: Toy
) -> None:
    batches: list[int] = []
    watch = LambdaCallback(on_train_batch_start=lambda *_: batches.append(1))
    with pytest.raises(UserError, match=re.escape(message)):
        trainer(max_epochs=5, callbacks=[watch]).fit(daml(data, schedule=schedule), data)
    assert not batches


def test_a_learning_rate_that_becomes_negative_later_ends_the_training(data: Toy) -> None:
    schedule = partial(LambdaLR, lr_lambda=lambda update: 1.0 if update < 3 else -1.0)
    model = daml(data, schedule=schedule, schedule_every="update")
    with pytest.raises(UserError, match=r"model\.schedule makes a learning rate of -0\.001"):
        trainer(max_epochs=1).fit(model, data)
    assert model.global_step == 3


def test_a_schedule_is_tried_without_drawing_random_numbers() -> None:
    before = torch.get_rng_state()
    try_out(partial(StepLR, step_size=2), rate=0.1, steps=9)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_ramp_without_end_is_refused_before_the_first_batch(data: Toy) -> None:
    with pytest.raises(UserError, match=r"model\.ramp .* to know how long"):
        trainer(max_epochs=-1).fit(daml(data), data)
