from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy, normalize
from torch.optim import SGD

from cmr_lightning.errors import UserError
from cmr_lightning.methods.info_nce import InfoNCE
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import Toy


@pytest.mark.parametrize(("term", "expected"), [("info_nce", ENCODERS | {"growth"}), ("adversarial", ENCODERS)])
def test_which_term_reaches_which_parameters(term: str, expected: set[str]) -> None:
    data = Toy(level="instance")
    assert reached(toy_method(InfoNCE, data), first_batch(data), term) == expected


def test_with_one_caption_an_image_it_is_the_cross_entropy_of_the_diagonal() -> None:
    data = Toy(level="instance")
    model, batch = toy_method(InfoNCE, data), first_batch(data)
    images, texts = (normalize(f, dim=1) for f in model.embed(batch).pair)
    logits, own = images @ texts.T / 0.07, torch.arange(len(images))
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    assert losses(model, batch)["info_nce"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(("level", "captions"), [("instance", 5), ("label", 1)])
def test_matches_of_one_image_or_class_share_the_target(level: str, captions: int) -> None:
    data = Toy(num_train=20, level=level, captions=captions)
    model, batch = toy_method(InfoNCE, data), first_batch(data)
    group = (batch.label if level == "label" else batch.image_id).tolist()
    images, texts = (normalize(f, dim=1) for f in model.embed(batch).pair)
    expected = 0.0
    for logits in (images @ texts.T / 0.07, texts @ images.T / 0.07):
        log_p = logits.log_softmax(1)
        for i, of in enumerate(group):
            matches = [j for j, other in enumerate(group) if other == of]
            expected -= sum(log_p[i, j].item() for j in matches) / len(matches) / len(group) / 2
    assert len(set(group)) < len(group)
    assert losses(model, batch)["info_nce"].item() == pytest.approx(expected, rel=1e-4)


def test_scale_starts_at_the_inverse_temperature_and_is_learned() -> None:
    data = Toy()
    model = toy_method(InfoNCE, data)
    assert model.scale.item() == pytest.approx(1 / 0.07)
    trainer(max_epochs=1).fit(model.train(), data)
    assert model.scale.item() != pytest.approx(1 / 0.07, rel=1e-4)


def test_scale_is_capped_and_can_come_down_again() -> None:
    data = Toy()
    model = toy_method(InfoNCE, data, generator_optimizer=partial(SGD, lr=0.0))
    with torch.no_grad():
        model.growth.fill_(5.0)
    trainer(max_epochs=1, limit_train_batches=1).fit(model.train(), data)
    assert model.scale.item() == pytest.approx(100, rel=1e-5)
    losses(model, first_batch(data))["info_nce"].backward()
    assert model.growth.grad != 0


def test_weight_decay_draws_the_scale_to_its_start() -> None:
    data = Toy()
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
