import pytest
import torch

from cmr_lightning.batch import Tokens
from cmr_lightning.methods.collapsed import Collapsed
from tests.building import trainer
from tests.toy import Toy


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
