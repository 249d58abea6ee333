"""Retrievers of composed queries, whatever the method."""

from functools import partial

import pytest
import torch

from cmr_lightning.batch import ComposedQuery
from cmr_lightning.encoders import Concatenation, ImageOnly, TextOnly, TimmEncoder, TIRGFusion, TIRGLastMap, WordRNN
from cmr_lightning.errors import UserError
from cmr_lightning.methods.chance import Collapsed, Random
from cmr_lightning.methods.tirg import TIRG
from cmr_lightning.methods.triplet import Triplet
from datamodules.shapes_composed import ShapesComposed
from tests.building import sgd, trainer
from tests.toy import Toy, ToyComposed, encoder, toy_model

FUSIONS = [ImageOnly, TextOnly, Concatenation, TIRGFusion]


@pytest.fixture
def data() -> ToyComposed:
    data = ToyComposed()
    data.eval_batch_size = 10
    return data


def toy_tirg(data: ToyComposed, **arguments: object) -> TIRG:
    torch.manual_seed(0)
    return toy_model(TIRG, data, generator_optimizer=sgd(0.05), **arguments)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_query_depends_on_what_its_fusion_reads_alone(fusion: type, data: ToyComposed) -> None:
    model = toy_tirg(data, fusion=fusion).eval()
    batch = next(iter(data.train_dataloader()))
    query = model.embed_queries(batch.text)
    other_source = model.embed_queries(ComposedQuery(batch.text.source.flip(0), batch.text.text))
    other_text = model.embed_queries(ComposedQuery(batch.text.source, batch.text.text.flip(0)))
    assert torch.equal(query, other_source) == (fusion is TextOnly)
    assert torch.equal(query, other_text) == (fusion is ImageOnly)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_all_that_is_trained_gets_a_gradient(fusion: type, data: ToyComposed) -> None:
    """Processes that train together wait for the gradient of every parameter that wants one."""
    model = toy_tirg(data, fusion=fusion)
    batch = next(iter(data.train_dataloader()))
    model.generator_losses(batch, model.embed(batch))["metric"].backward()
    assert not {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert all(p.requires_grad == (fusion is not ImageOnly) for p in model.text_encoder.parameters())


def test_targets_are_the_images_and_queries_the_texts(data: ToyComposed) -> None:
    model = toy_tirg(data).eval()
    batch = next(iter(data.train_dataloader()))
    embeddings = model.embed(batch)
    assert torch.equal(embeddings.image, model.embed_images(batch.image))
    assert torch.equal(embeddings.text, model.embed_queries(batch.text))


def test_training_helps_and_the_whole_test_part_is_measured() -> None:
    data = ToyComposed(sources=48)
    model = toy_tirg(data)
    before = measured(model, data)
    trainer(max_epochs=30).fit(model, data)
    assert measured(model, data) > before + 20
    assert model.measurement.ranks["c2i/cos/target"].num_queries == 48 * 3
    assert model.measurement.ranks["c2i/cos/target"].gallery_size == 48 * 4 - 1


def measured(model: TIRG, data: ToyComposed) -> float:
    trainer().test(model, data, verbose=False)
    return model.measurement.metrics["recall@10/cos/target"]["mean"]


def test_what_looks_at_nothing_scores_chance() -> None:
    data = ToyComposed(sources=100)
    for model in (Collapsed(data.spec), Random(data.spec)):
        trainer().test(model, data, verbose=False)
        chance = 100 * 50 / 399
        tolerance = 1e-6 if isinstance(model, Collapsed) else 6.0
        assert model.measurement.metrics["recall@50/cos/target"]["c2i"] == pytest.approx(chance, abs=tolerance)


def test_methods_and_data_of_different_tasks_are_refused() -> None:
    with pytest.raises(UserError, match=r"asks composed queries.* but Triplet compares .* such as TIRG\."):
        Triplet(spec=ToyComposed().spec, image_encoder=encoder, text_encoder=encoder)
    with pytest.raises(UserError, match=r"TIRG answers composed queries.* such as ShapesComposed\."):
        TIRG(spec=Toy().spec, image_encoder=encoder, text_encoder=encoder)


def test_a_part_of_the_gallery_is_not_measured(data: ToyComposed) -> None:
    with pytest.raises(UserError, match="20 of 96 images and 20 of 72 texts were embedded; leave"):
        trainer(limit_test_batches=2).test(toy_tirg(data), data, verbose=False)


def test_a_sanity_check_of_a_part_is_no_trouble(data: ToyComposed) -> None:
    model = toy_tirg(data)
    trainer(max_steps=1, num_sanity_val_steps=1, limit_val_batches=1.0, val_check_interval=1.0).fit(model, data)
    assert model.measurement is None


def test_gating_on_the_last_map_runs_on_pictures() -> None:
    data = ShapesComposed(num_train=4, num_val=1, num_test=1, modifications=2, batch_size=4)
    torch.manual_seed(0)
    model = TIRG(
        spec=data.spec,
        image_encoder=partial(TimmEncoder, model="test_resnet"),
        text_encoder=WordRNN,
        fusion=TIRGLastMap,
        dim=8,
    )
    assert model.encoder_names() == {"image": "TimmEncoder", "text": "WordRNN", "fusion": "TIRGLastMap"}
    batch = next(iter(data.train_dataloader()))
    model.generator_losses(batch, model.embed(batch))["metric"].backward()
    assert all(p.grad is not None for p in model.parameters())
