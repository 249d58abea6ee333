from functools import partial

import pytest
import torch

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import DotProductCritic
from cmr_lightning.encoders import TimmEncoder
from cmr_lightning.errors import UserError
from cmr_lightning.losses import mutual_information
from cmr_lightning.methods.info_max import InfoMax
from datamodules.shapes import Shapes
from tests.building import trainer
from tests.cmr_lightning.methods.reach import first_batch, losses, picture_method, reached, toy_method
from tests.toy import Toy


@pytest.fixture(scope="module")
def on_pictures() -> tuple[InfoMax, Batch]:
    """The method on pictures with both terms, and a batch of which some captions are of one picture."""
    data = Shapes("instance", num_train=20, num_val=20, num_test=20, picture_size=32, batch_size=12)
    critic = partial(DotProductCritic, units=64)
    model = picture_method(InfoMax, data, critic=critic, level=3, weights={"text_map": 0.1})
    return model.eval(), first_batch(data)


def test_map_is_scored_at_each_of_its_places(on_pictures: tuple[InfoMax, Batch]) -> None:
    model, batch = on_pictures
    embeddings = model.embed(batch)
    images, texts = embeddings.pair
    torch.testing.assert_close(images, model.embed_images(batch.image))
    assert isinstance(model.image_encoder, TimmEncoder)
    low = model.image_encoder.with_map(batch.image, 3)[1]
    different = batch.image_id[:, None] != batch.image_id[None, :]
    assert different.sum() < len(texts) * (len(texts) - 1)  # some captions are of one picture
    expected = mutual_information(model.text_map(texts, low), different, "jsd")
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
    with pytest.raises(UserError, match=r"FeatureMLP makes none; set model\.weights\.text_map to 0"):
        toy_method(InfoMax, Toy(), weights={"text_map": 0.1})


def test_training_raises_the_mutual_information() -> None:
    data = Toy(level="instance")
    weights, critic = {"triplet": 0.0, "text_image": 1.0}, partial(DotProductCritic, units=16)
    model = toy_method(InfoMax, data, critic=critic, weights=weights)
    batch = first_batch(data)
    before = losses(model, batch)["text_image"].item()
    trainer(max_epochs=20).fit(model.train(), data)
    assert losses(model.eval(), batch)["text_image"].item() < before - 0.2
