from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import softplus

from cmr_lightning.discriminators import ConcatCritic, DotProductCritic
from cmr_lightning.losses import Estimator, mutual_information
from cmr_lightning.methods.info_max import InfoMax
from cmr_lightning.methods.triplet import Triplet
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import Toy

CRITICS = {"concat": partial(ConcatCritic, hidden=16), "dot": partial(DotProductCritic, units=16)}


def info_max(data: Toy, critic: str = "dot", **settings: object) -> InfoMax:
    return toy_method(InfoMax, data, discriminator=None, critic=CRITICS[critic], **settings)


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize(("term", "expected"), [("triplet", ENCODERS), ("mutual_information", ENCODERS | {"critic"})])
def test_which_term_reaches_which_parameters(term: str, expected: set[str], critic: str) -> None:
    data = Toy(level="instance")
    assert reached(info_max(data, critic), first_batch(data), term) == expected


def test_term_equals_loops_over_pairs_of_different_images() -> None:
    data = Toy(num_train=20, level="instance", captions=5)
    model, batch = info_max(data), first_batch(data)
    images, texts = model.embed(batch)
    ids = batch.image_id.tolist()
    assert len(set(ids)) < len(ids)
    own, others = [], []
    for i, text in enumerate(texts):
        for j, image in enumerate(images):
            score = model.critic(text[None], image[None])[0, 0]
            if i == j:
                own.append(softplus(-score))
            elif ids[i] != ids[j]:
                others.append(softplus(score))
    expected = torch.stack(others).mean() + torch.stack(own).mean() - 2 * torch.tensor(2.0).log()
    assert losses(model, batch)["mutual_information"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("estimator", ["jsd", "nce", "dv"])
def test_estimator_is_the_one_that_was_named(estimator: Estimator) -> None:
    data = Toy()
    model, batch = info_max(data, estimator=estimator), first_batch(data)
    images, texts = model.embed(batch)
    expected = mutual_information(model.critic(texts, images), ~model.related(batch), estimator)
    assert losses(model, batch)["mutual_information"].item() == pytest.approx(expected.item())


def test_without_the_term_it_is_the_triplet_loss_and_nothing_else() -> None:
    data = Toy(level="instance")
    torch.manual_seed(0)
    with_critic = info_max(data, weights={"mutual_information": 0.0}).train()
    plain = toy_method(Triplet, data, discriminator=None).train()
    plain.load_state_dict(with_critic.state_dict(), strict=False)
    for model in (with_critic, plain):
        torch.manual_seed(0)
        trainer(max_epochs=1).fit(model, Toy(level="instance"))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, with_critic.state_dict()[name], rtol=0, atol=0)


def test_training_raises_the_mutual_information() -> None:
    data = Toy(level="instance")
    model, batch = info_max(data, weights={"triplet": 0.0, "mutual_information": 1.0}), first_batch(data)
    before = losses(model, batch)["mutual_information"].item()
    trainer(max_epochs=20).fit(model.train(), data)
    assert losses(model.eval(), batch)["mutual_information"].item() < before - 0.2
