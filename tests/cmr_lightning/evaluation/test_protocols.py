import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.protocols import CLASS_LEVEL, COMPOSED_TARGET, CUSTOMARY, INSTANCE_LEVEL, Protocol


@pytest.mark.parametrize("protocol", CUSTOMARY, ids=lambda protocol: protocol.id)
def test_ids_round_trip(protocol):
    assert Protocol.parse(protocol.id) == protocol


@pytest.mark.parametrize(
    ("protocol", "name"),
    [
        (Protocol("map", "label"), "map@all/cos/label"),
        (Protocol("map", "label", k=7, normaliser="hits-nonempty"), "map@7-hits-nonempty/cos/label"),
        (Protocol("precision", "label", k=10), "precision@10/cos/label"),
        (Protocol("median-rank", "instance"), "median-rank/cos/instance"),
        (Protocol("map-at-r", "eccv"), "map-at-r/cos/eccv"),
    ],
)
def test_ids_are_as_documented(protocol, name):
    assert protocol.id == name
    assert protocol.id.endswith(f"/{protocol.ranking}")


def test_main_protocols_come_first_and_no_id_twice():
    mains = [protocols[0].id for protocols in (CLASS_LEVEL, INSTANCE_LEVEL, COMPOSED_TARGET)]
    assert mains == ["map@all/cos/label", "rsum/cos/instance", "recall@1/cos/target"]
    assert len({protocol.id for protocol in CUSTOMARY}) == len(CUSTOMARY)


def test_composed_queries_have_one_direction():
    assert COMPOSED_TARGET[0].directions == COMPOSED_TARGET[0].columns == ("c2i",)
    assert INSTANCE_LEVEL[0].columns == ("i2t", "t2i", "mean")
    with pytest.raises(UserError, match="composed queries have one"):
        Protocol("rsum", "target")


def test_only_ranks_are_better_when_low():
    low = [protocol.id for protocol in CUSTOMARY if not protocol.higher_is_better]
    assert low == ["median-rank/cos/instance", "median-rank/cos/instance/5fold"]


@pytest.mark.parametrize(
    "unknown",
    [
        *("", "map@all/cos", "map@all/cos/label/", "map/cos/label", "recall/cos/instance", "recall@all/cos/instance"),
        *("map@50/cos/label", "map@050-hits/cos/label", "map@all-hits/cos/label", "map@0-hits/cos/label"),
        *("map@all/cosine/label", "map@all/cos/class", "rsum@5/cos/instance", "map-at-r@5/cos/eccv"),
        *("recall@1-hits/cos/instance", "recall@1/cos/instance/1fold", "recall@1/cos/instance/05fold"),
        *("recall@1/cos/instance/fold", "recall@1/cos/cxc/5fold", "rsum/cos/target"),
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
