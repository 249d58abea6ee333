import pytest
import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Measurement, measure, measurement
from cmr_lightning.evaluation.metrics import score
from cmr_lightning.evaluation.protocols import CLASS_LEVEL, INSTANCE_LEVEL, Protocol
from cmr_lightning.evaluation.ranks import rank
from cmr_lightning.evaluation.relevance import Relevance


def captioned_images():
    """20 images in 4 classes, 5 texts each, weakly aligned."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(20, 8, generator=generator)
    texts = images.repeat_interleave(5, dim=0) + torch.randn(100, 8, generator=generator)
    owner = torch.arange(20).repeat_interleave(5)
    return images, texts, {"label": (torch.arange(20) % 4, owner % 4), "instance": (torch.arange(20), owner)}


def test_metrics_and_ranks_have_their_names():
    result = measure(*captioned_images(), CLASS_LEVEL + INSTANCE_LEVEL)
    assert isinstance(result, Measurement)
    assert set(result.metrics) == {protocol.id for protocol in CLASS_LEVEL + INSTANCE_LEVEL}
    assert set(result.ranks) == {
        f"{direction}/{ranking}"
        for direction in ("i2t", "t2i")
        for ranking in ("cos/label", "l2/label", "cos/instance")
    }
    for name, values in result.metrics.items():
        assert set(values) - {"sum"} == {"i2t", "t2i", "mean"}
        assert ("sum" in values) == name.startswith("rsum/")
        assert values["mean"] == (values["i2t"] + values["t2i"]) / 2


def test_directions_are_not_exchanged():
    images, texts, keys = captioned_images()
    protocol = Protocol("recall", "instance", k=1)
    result = measure(images, texts, keys, [protocol])
    i2t = rank(images, texts, Relevance(*keys["instance"]), "cos")
    t2i = rank(texts, images, Relevance(*keys["instance"]).transposed(), "cos")
    assert result.metrics[protocol.id]["i2t"] == score(i2t, protocol)
    assert result.metrics[protocol.id]["t2i"] == score(t2i, protocol)
    assert score(i2t, protocol) != score(t2i, protocol)
    assert result.ranks["i2t/cos/instance"].num_queries == 20
    assert result.ranks["t2i/cos/instance"].num_queries == 100


def test_rsum_adds_both_directions():
    metrics = measure(*captioned_images(), INSTANCE_LEVEL).metrics
    recalls = [metrics[f"recall@{k}/cos/instance"] for k in (1, 5, 10)]
    expected = sum(values["i2t"] + values["t2i"] for values in recalls)
    assert metrics["rsum/cos/instance"]["sum"] == pytest.approx(expected)


def test_each_ranking_is_made_once(monkeypatch):
    calls = []
    monkeypatch.setattr(measurement, "rank", lambda *args: calls.append(args[3]) or rank(*args))
    measure(*captioned_images(), CLASS_LEVEL + INSTANCE_LEVEL)
    assert sorted(calls) == ["cos"] * 4 + ["l2"] * 2


def test_a_protocol_needs_its_keys():
    images, texts, keys = captioned_images()
    with pytest.raises(UserError, match="rsum/cos/instance needs instance keys"):
        measure(images, texts, {"label": keys["label"]}, INSTANCE_LEVEL)
