from functools import partial

import pytest
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.cli import ReduceLROnPlateau
from torch.optim.lr_scheduler import StepLR

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol
from cmr_lightning.game.schedules import WarmupCosine
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
    model = daml(data, schedule=plateau, generator_optimizer=sgd(0.0), discriminator_optimizer=sgd(1.0))
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
