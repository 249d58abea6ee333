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


def test_modalities_items_and_seeds_differ() -> None:
    modalities: tuple[Modality, Modality] = ("image", "text")
    embedded = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = Random(Toy().spec)
        embedded += [model.embed_items(items(0, 1), modality) for modality in modalities]
    points = torch.cat(embedded)
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


@pytest.mark.parametrize(
    ("data", "protocols", "chance"),
    [
        (Toy(), ("precision@1/cos/label", "precision@10/cos/label", "r-precision/cos/label"), 1 / 4),
        (Toy(level="instance"), ("recall@1/cos/instance",), 100 / 24),
        (Toy(level="instance", captions=3), ("recall@1/cos/instance",), 100 / 24),
    ],
    ids=["classes", "instances", "captions"],
)
def test_one_point_is_right_as_often_as_a_random_item(data: Toy, protocols: tuple[str, ...], chance: float) -> None:
    model = Collapsed(data.spec)
    trainer().test(model, data, verbose=False)
    assert model.measurement is not None
    for protocol in protocols:
        assert model.measurement.metrics[protocol] == pytest.approx({"i2t": chance, "t2i": chance, "mean": chance})
