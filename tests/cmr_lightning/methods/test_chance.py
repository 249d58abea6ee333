from pathlib import Path

import pytest
import torch

from cmr_lightning.batch import Items, Tokens
from cmr_lightning.embedding_model import EmbeddingModel, Modality
from cmr_lightning.methods.chance import Collapsed, Random
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.pascal_sentence import PascalSentence
from datamodules.wikipedia import Wikipedia
from tests.building import trainer
from tests.toy import Toy


def items(*positions: int) -> Items:
    index = torch.tensor(positions)
    return Items(torch.zeros(len(index), 3), index, index, index)


def test_batches_do_not_matter() -> None:
    for dim in (1, 3, 10, 16, 64):
        model = Random(Toy().spec, dim=dim)
        whole = model.embed_items(items(*range(30)), "image")
        parts = [model.embed_items(items(*part), "image") for part in (range(7), range(7, 8), range(8, 30))]
        assert torch.equal(whole, torch.cat(parts)), f"dim {dim}"


def test_content_does_not_matter() -> None:
    model = Random(Toy().spec)
    other = items(0, 1, 2)._replace(content=torch.ones(3, 3))
    assert torch.equal(model.embed_items(items(0, 1, 2), "image"), model.embed_items(other, "image"))


def seeded(seed: int) -> Random:
    torch.manual_seed(seed)
    return Random(Toy().spec)


def test_modalities_items_and_seeds_differ() -> None:
    modalities: tuple[Modality, Modality] = ("image", "text")
    points = torch.cat([seeded(seed).embed_items(items(0, 1), m) for seed in (0, 1) for m in modalities])
    distances = torch.cdist(points, points) + 100 * torch.eye(len(points))
    assert distances.min() > 1


@pytest.mark.parametrize("method", [Random, Collapsed])
def test_methods_that_see_nothing_score_chance(real_data: Path, method: type[EmbeddingModel]) -> None:
    wikipedia = Wikipedia(str(real_data / "wikipedia"))
    pascal = PascalSentence(str(real_data / "pascal_sentence"), image=FeatureArchive("mobilenetv2_features.npz"))
    for data, chance in ((wikipedia, pytest.approx(0.118, abs=0.005)), (pascal, pytest.approx(0.090, abs=0.02))):
        model = method(data.spec)
        trainer().test(model, data, verbose=False)
        assert model.measurement is not None
        assert model.measurement.metrics["map@all/cos/label"]["mean"] == chance


def test_everything_is_one_point_whatever_it_was() -> None:
    model = Collapsed(Toy().spec)
    tokens = Tokens(torch.ones(5, 7, dtype=torch.long), torch.ones(5, 7, dtype=torch.bool))
    points = torch.cat([model.embed_images(torch.randn(4, 12)), model.embed_texts(tokens)])
    assert len(points) == 9
    assert len(points.unique(dim=0)) == 1


def test_first_rank_is_right_as_often_as_a_random_item() -> None:
    data = Toy()
    model = Collapsed(data.spec)
    trainer().test(model, data, verbose=False)
    assert model.measurement is not None
    for protocol in ("precision@1/cos/label", "precision@10/cos/label", "r-precision/cos/label"):
        assert model.measurement.metrics[protocol]["mean"] == pytest.approx(1 / 4), protocol


@pytest.mark.parametrize("captions", [1, 3])
def test_recall_is_chance_on_instances(captions: int) -> None:
    data = Toy(level="instance", captions=captions)
    model = Collapsed(data.spec)
    trainer().test(model, data, verbose=False)
    assert model.measurement is not None
    assert model.measurement.metrics["recall@1/cos/instance"]["t2i"] == pytest.approx(100 / 24)
    assert model.measurement.metrics["recall@1/cos/instance"]["i2t"] == pytest.approx(100 / 24)
