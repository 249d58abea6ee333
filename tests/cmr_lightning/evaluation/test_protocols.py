import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.protocols import CLASS_LEVEL, CXC, ECCV, FIVE_FOLD, INSTANCE_LEVEL, Protocol

ALL = CLASS_LEVEL + INSTANCE_LEVEL + FIVE_FOLD + CXC + ECCV


@pytest.mark.parametrize("protocol", ALL, ids=lambda protocol: protocol.id)
def test_ids_round_trip(protocol):
    assert Protocol.parse(protocol.id) == protocol
    assert hash(Protocol.parse(protocol.id)) == hash(protocol)


def test_ids_are_as_documented():
    assert Protocol("map", "label").id == "map@all/cos/label"
    assert Protocol("map", "label", "l2", k=50, normaliser="hits").id == "map@50-hits/l2/label"
    assert Protocol("map", "label", k=7, normaliser="hits-nonempty").id == "map@7-hits-nonempty/cos/label"
    assert Protocol("precision", "label", k=10).id == "precision@10/cos/label"
    assert Protocol("r-precision", "label").id == "r-precision/cos/label"
    assert Protocol("recall", "instance", k=1).id == "recall@1/cos/instance"
    assert Protocol("median-rank", "instance").id == "median-rank/cos/instance"
    assert Protocol("rsum", "instance").id == "rsum/cos/instance"
    assert Protocol("recall", "instance", k=1, folds=5).id == "recall@1/cos/instance/5fold"
    assert Protocol("map-at-r", "eccv").id == "map-at-r/cos/eccv"
    assert Protocol("map-at-r", "label", folds=3).ranking == "cos/label/3fold"


def test_main_protocols_come_first_and_no_id_twice():
    assert CLASS_LEVEL[0].id == "map@all/cos/label"
    assert INSTANCE_LEVEL[0].id == "rsum/cos/instance"
    ids = [protocol.id for protocol in ALL]
    assert len(set(ids)) == len(ids)


def test_only_ranks_are_better_when_low():
    low = [protocol.id for protocol in ALL if not protocol.higher_is_better]
    assert low == ["median-rank/cos/instance", "median-rank/cos/instance/5fold"]


@pytest.mark.parametrize(
    "unknown",
    [
        "map@50/cos/label",
        "map/cos/label",
        "map@050-hits/cos/label",
        "map@all-hits/cos/label",
        "map@0-hits/cos/label",
        "recall@all/cos/instance",
        "recall/cos/instance",
        "recall@1-hits/cos/instance",
        "rsum@5/cos/instance",
        "map@all/cosine/label",
        "map@all/cos/class",
        "map@all/cos",
        "map@all/cos/label/",
        "recall@1/cos/instance/1fold",
        "recall@1/cos/instance/05fold",
        "recall@1/cos/instance/fold",
        "recall@1/cos/cxc/5fold",
        "map-at-r@5/cos/eccv",
        "",
    ],
)
def test_unknown_ids_are_refused(unknown):
    with pytest.raises(UserError, match="Unknown protocol"):
        Protocol.parse(unknown)


def test_the_nearest_ids_are_listed():
    with pytest.raises(UserError, match=r"nearest known ones are .*map@all/cos/label"):
        Protocol.parse("mAP@all/cos/label")
    with pytest.raises(UserError, match=r"needs a normaliser.*map@50-hits/l2/label"):
        Protocol.parse("map@50/l2/label")
