from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.nn.functional import softplus

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import ConcatCritic, DotProductCritic
from cmr_lightning.encoders import TimmEncoder, WordRNN
from cmr_lightning.errors import UserError
from cmr_lightning.losses import Estimator, mutual_information
from cmr_lightning.methods.info_max import InfoMax
from cmr_lightning.methods.triplet import Triplet
from datamodules.shapes import Shapes
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import Toy

CRITICS = {"concat": partial(ConcatCritic, hidden=16), "dot": partial(DotProductCritic, units=16)}


def info_max(data: Toy, critic: str = "dot", **settings: object) -> InfoMax:
    return toy_method(InfoMax, data, discriminator=None, critic=CRITICS[critic], **settings)


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize(("term", "expected"), [("triplet", ENCODERS), ("text_image", ENCODERS | {"text_image"})])
def test_which_term_reaches_which_parameters(term: str, expected: set[str], critic: str) -> None:
    data = Toy(level="instance")
    assert reached(info_max(data, critic), first_batch(data), term) == expected


def test_term_equals_loops_over_pairs_of_different_images() -> None:
    data = Toy(num_train=20, level="instance", captions=5)
    model, batch = info_max(data), first_batch(data)
    images, texts = model.embed(batch).pair
    ids = batch.image_id.tolist()
    assert len(set(ids)) < len(ids)
    own, others = [], []
    for i, text in enumerate(texts):
        for j, image in enumerate(images):
            score = model.text_image(text[None], image[None])[0, 0]
            if i == j:
                own.append(softplus(-score))
            elif ids[i] != ids[j]:
                others.append(softplus(score))
    expected = torch.stack(others).mean() + torch.stack(own).mean() - 2 * torch.tensor(2.0).log()
    assert losses(model, batch)["text_image"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("estimator", ["jsd", "nce", "dv"])
def test_estimator_is_the_one_that_was_named(estimator: Estimator) -> None:
    data = Toy()
    model, batch = info_max(data, estimator=estimator), first_batch(data)
    images, texts = model.embed(batch).pair
    expected = mutual_information(model.text_image(texts, images), ~model.related(batch), estimator)
    assert losses(model, batch)["text_image"].item() == pytest.approx(expected.item())


def test_without_the_term_it_is_the_triplet_loss_and_nothing_else() -> None:
    data = Toy(level="instance")
    torch.manual_seed(0)
    with_critic = info_max(data, weights={"text_image": 0.0}).train()
    plain = toy_method(Triplet, data, discriminator=None).train()
    plain.load_state_dict(with_critic.state_dict(), strict=False)
    for model in (with_critic, plain):
        torch.manual_seed(0)
        trainer(max_epochs=1).fit(model, Toy(level="instance"))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(value, with_critic.state_dict()[name], rtol=0, atol=0)


# The low-level map ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_pictures() -> tuple[InfoMax, Batch]:
    """The method on pictures with both terms, and a batch of which some captions are of one picture."""
    data = Shapes("instance", num_train=20, num_val=20, num_test=20, picture_size=32, batch_size=12)
    torch.manual_seed(0)
    model = InfoMax(
        spec=data.spec,
        image_encoder=partial(TimmEncoder, model="test_resnet"),
        text_encoder=partial(WordRNN, embedding=8, hidden=8),
        critic=partial(DotProductCritic, units=64),
        level=3,
        dim=16,
        weights={"text_map": 0.1},
    )
    return model.eval(), first_batch(data)


def test_map_is_scored_at_each_of_its_places(on_pictures: tuple[InfoMax, Batch]) -> None:
    model, batch = on_pictures
    embeddings = model.embed(batch)
    images, texts = embeddings.pair
    torch.testing.assert_close(images, model.embed_images(batch.image))
    assert isinstance(model.image_encoder, TimmEncoder)
    low = model.image_encoder.with_map(batch.image, 3)[1]
    ids = batch.image_id.tolist()
    assert len(set(ids)) < len(ids)
    own, others = [], []
    for i, text in enumerate(texts):
        for j, of_image in enumerate(low.flatten(2).transpose(1, 2)):
            scores = [model.text_map(text[None], place[None])[0, 0] for place in of_image]
            if i == j:
                own += [softplus(-score) for score in scores]
            elif ids[i] != ids[j]:
                others += [softplus(score) for score in scores]
    expected = torch.stack(others).mean() + torch.stack(own).mean() - 2 * torch.tensor(2.0).log()
    assert losses(model, batch)["text_map"].item() == pytest.approx(expected.item(), rel=1e-3)


def test_map_term_reaches_the_image_network_up_to_the_map_and_the_texts(on_pictures: tuple[InfoMax, Batch]) -> None:
    model, batch = on_pictures
    assert reached(model, batch, "text_map") == {"image_encoder", "text_encoder", "text_map"}
    losses(model, batch)["text_map"].backward()
    moved = {name for name, p in model.image_encoder.named_parameters() if p.grad is not None and bool(p.grad.any())}
    model.zero_grad()
    assert any(name.startswith("backbone.layer1") for name in moved)
    assert not any(name.startswith(("backbone.layer4", "projection")) for name in moved)


def test_detached_embeddings_keep_their_map(on_pictures: tuple[InfoMax, Batch]) -> None:
    model, batch = on_pictures
    detached = model.embed(batch).detach()
    assert set(detached.tensors()) == {"image", "text", "map"}
    assert not any(tensor.requires_grad for tensor in detached.tensors().values())


def test_features_have_no_map() -> None:
    with pytest.raises(
        UserError, match=r"needs a feature map .* FeatureMLP makes none; set model\.weights\.text_map to 0"
    ):
        info_max(Toy(), weights={"text_map": 0.1})


def test_training_raises_the_mutual_information() -> None:
    data = Toy(level="instance")
    model, batch = info_max(data, weights={"triplet": 0.0, "text_image": 1.0}), first_batch(data)
    before = losses(model, batch)["text_image"].item()
    trainer(max_epochs=20).fit(model.train(), data)
    assert losses(model.eval(), batch)["text_image"].item() < before - 0.2
