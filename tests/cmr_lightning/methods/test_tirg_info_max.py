from functools import partial
from typing import Any

import pytest
import torch

from cmr_lightning.discriminators import DotProductCritic
from cmr_lightning.encoders import Concatenation
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments import ModalityAdversary
from cmr_lightning.losses import mutual_information
from cmr_lightning.methods.tirg import TIRG
from cmr_lightning.methods.tirg_info_max import TIRGInfoMax
from datamodules.shapes_composed import ShapesComposed
from tests.building import sgd, trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, picture_method, reached, toy_method
from tests.toy import ToyComposed

ESTIMATORS = ("jsd", "nce", "dv")


@pytest.fixture(scope="module")
def shapes() -> ShapesComposed:
    return ShapesComposed(num_train=8, num_val=2, num_test=2, modifications=4, batch_size=8)


def on_shapes(method: type[TIRG], data: ShapesComposed, **arguments: Any) -> Any:
    """A method on pictures; what it is made of is the same whatever the method."""
    critic = {"critic": partial(DotProductCritic, units=16)} if method is TIRGInfoMax else {}
    return picture_method(method, data, **{"dim": 8, "generator_optimizer": sgd(0.01), **critic, **arguments})


def test_which_term_reaches_which_parameters(shapes: ShapesComposed) -> None:
    model, batch = on_shapes(TIRGInfoMax, shapes, alignment=ModalityAdversary), first_batch(shapes)
    assert reached(model, batch, "metric") == {*ENCODERS, "fusion", "scale"}
    assert reached(model, batch, "text_image") == {*ENCODERS, "text_image"}
    assert reached(model, batch, "image_query") == {*ENCODERS, "fusion", "image_query"}
    assert reached(model, batch, "alignment") == {*ENCODERS, "fusion"}


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_terms_are_estimates_of_mutual_information(shapes: ShapesComposed, estimator: str) -> None:
    model, batch = on_shapes(TIRGInfoMax, shapes, estimator=estimator, level=2).eval(), first_batch(shapes)
    found, negatives = losses(model, batch), ~torch.eye(8, dtype=torch.bool)
    targets, low = model.image_encoder.with_map(batch.image, 2)
    assert low.shape == (8, 48, 4, 4)
    words, query = model.embed_texts(batch.text.text), model.embed_queries(batch.text)
    text_image = mutual_information(model.text_image(words, targets), negatives, estimator)
    image_query = mutual_information(model.image_query(query, low), negatives, estimator)
    assert found["text_image"].item() == pytest.approx(text_image.item(), rel=1e-4, abs=1e-5)
    assert found["image_query"].item() == pytest.approx(image_query.item(), rel=1e-4, abs=1e-5)


def test_with_a_detached_query_gradients_end_at_the_layer_of_the_map(shapes: ShapesComposed) -> None:
    model, batch = on_shapes(TIRGInfoMax, shapes, level=2), first_batch(shapes)
    embeddings = model.embed(batch)
    scores = model.image_query(embeddings.text.detach(), embeddings.extra["map"])
    mutual_information(scores, ~torch.eye(8, dtype=torch.bool), "jsd").backward()
    moved = {name for name, p in model.image_encoder.backbone.named_parameters() if p.grad is not None}
    assert any(name.startswith("layer2") for name in moved)
    assert not any(name.startswith(("layer3", "layer4")) for name in moved)


def test_texts_may_tell_of_the_source(shapes: ShapesComposed) -> None:
    model, batch = on_shapes(TIRGInfoMax, shapes, informed_of="source").eval(), first_batch(shapes)
    assert torch.equal(model.embed(batch).extra["picture"], model.embed_images(batch.text.source))


def test_without_weights_a_training_is_that_of_tirg_to_the_last_bit(shapes: ShapesComposed) -> None:
    """With dropout, too: critics that have no weight draw no numbers."""
    ends = []
    for method, weights in ((TIRG, None), (TIRGInfoMax, {"text_image": 0.0, "image_query": 0.0})):
        model = on_shapes(method, shapes, fusion=Concatenation, weights=weights)
        batch = first_batch(shapes)
        torch.manual_seed(1)
        loss = model.generator_losses(batch, model.embed(batch))["metric"]
        torch.manual_seed(2)
        trainer(max_steps=3).fit(model, shapes)
        ends.append((loss, model.state_dict()))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1].keys() == ends[1][1].keys()
    assert all(torch.equal(value, ends[1][1][name]) for name, value in ends[0][1].items())


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_critics_learn_to_tell_pairs_from_strangers(estimator: str) -> None:
    """On held-out queries, whose texts and targets belong together, the term falls below that of shuffled texts."""
    data = ToyComposed(sources=64)
    weights = {"image_query": 0.0, "text_image": 1.0}
    critic = partial(DotProductCritic, units=16)
    model = toy_method(
        TIRGInfoMax, data, weights=weights, estimator=estimator, critic=critic, generator_optimizer=sgd(0.05)
    )
    trainer(max_epochs=10).fit(model.train(), data)
    part = data.part("val")
    model.eval()
    with torch.no_grad():
        words, images = model.embed_texts(part.text[:48]), model.embed_images(part.image[part.target[:48]])
        negatives = ~torch.eye(48, dtype=torch.bool)
        own = mutual_information(model.text_image(words, images), negatives, model.estimator)
        shuffled = mutual_information(model.text_image(words.roll(1, 0), images), negatives, model.estimator)
    assert own < shuffled


def test_feature_vectors_have_no_low_level_map() -> None:
    with pytest.raises(UserError, match=r"FeatureMLP makes none; set model\.weights\.image_query to 0"):
        toy_method(TIRGInfoMax, ToyComposed())
