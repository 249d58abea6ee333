import math
from functools import partial

import pytest
import torch
from torch.optim import SGD

from cmr_lightning.errors import UserError
from cmr_lightning.methods.info_nce import InfoNCE
from tests.building import trainer
from tests.cmr_lightning.methods.reach import first_batch, losses, toy_method
from tests.toy import Toy


def test_scale_starts_at_the_inverse_temperature_and_is_learned(data: Toy) -> None:
    model = toy_method(InfoNCE, data)
    assert model.scale.item() == pytest.approx(1 / 0.07)
    trainer(max_epochs=1).fit(model.train(), data)
    assert model.scale.item() != pytest.approx(1 / 0.07, rel=1e-4)


def test_scale_is_capped_and_can_come_down_again(data: Toy) -> None:
    model = toy_method(InfoNCE, data, generator_optimizer=partial(SGD, lr=1e-30))
    with torch.no_grad():
        model.growth.fill_(5.0)
    trainer(max_epochs=1, limit_train_batches=1).fit(model.train(), data)
    assert model.scale.item() == pytest.approx(100, rel=1e-5)
    losses(model, first_batch(data))["info_nce"].backward()
    assert model.growth.grad != 0


def test_weight_decay_draws_the_scale_to_its_start(data: Toy) -> None:
    model = toy_method(
        InfoNCE, data, generator_optimizer=partial(SGD, lr=0.1, weight_decay=1.0), weights={"info_nce": 1e-9}
    )
    with torch.no_grad():
        model.growth.fill_(1.0)
    trainer(max_epochs=1).fit(model.train(), data)
    assert model.scale.item() == pytest.approx(math.exp(0.9**6) / 0.07, rel=1e-4)


def test_a_start_beyond_the_cap_is_refused() -> None:
    with pytest.raises(UserError, match=r"model\.max_scale"):
        toy_method(InfoNCE, Toy(), temperature=0.005)
