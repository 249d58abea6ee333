"""Regimes: exact counts, nested draws, and nothing left of what is not told."""

from typing import Any

import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.reading.loaders import Part
from datamodules.reading.regime import Regime
from tests.toy import CLASSES, Toy, ToyComposed

IMAGES = 96


def whole(captions: int = 1, multi_label: bool = False) -> Part:
    return Toy(captions=captions, multi_label=multi_label).part("train")


def told(captions: int = 1, **settings: Any) -> Part:
    return Toy(captions=captions, regime=Regime(**{"seed": 0, **settings})).part("train")


def images_of(part: Part) -> set[int]:
    return set(part.owner[part.linked].tolist())


@pytest.mark.parametrize(("paired", "number"), [(40, 40), (0.25, 24), (1.0, 96), (0, 0), (0.05, 5)])
def test_as_many_images_as_said_keep_all_their_texts(paired: float, number: int) -> None:
    data = Toy(captions=3, regime=Regime(seed=0, paired=paired))
    part = data.part("train")
    assert (part.owner >= 0).sum() == 3 * number
    assert len(images_of(part)) == number == data.told["pairs"]
    assert torch.equal(part.owner[part.linked], whole(3).owner[part.linked])


def test_classes_are_paired_in_equal_shares() -> None:
    known = torch.tensor(sorted(images_of(told(paired=40))))
    assert torch.bincount(whole().label[known]).tolist() == [40 // CLASSES] * CLASSES


def test_draws_are_nested_and_follow_the_seed() -> None:
    few, more, other = told(paired=10), told(paired=30), told(paired=10, seed=1)
    assert images_of(few) < images_of(more)
    assert images_of(few) != images_of(other)
    assert torch.equal(few.owner, told(paired=10).owner)
    wrong, worse = (told(label_noise=share).label for share in (0.1, 0.3))
    assert (worse[wrong != whole().label] == wrong[wrong != whole().label]).all()


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_so_many_pairs_are_wrong_and_no_text_is_lost(share: float) -> None:
    data = Toy(captions=2, regime=Regime(seed=0, pair_noise=share))
    part, right = data.part("train"), whole(2)
    moved = part.owner != right.owner
    assert moved.sum() == 2 * round(share * IMAGES) == 2 * int(data.told["wrong_pairs"])
    assert sorted(part.owner.tolist()) == sorted(right.owner.tolist())
    assert torch.equal(part.label, right.label)
    assert part.text_label is not None
    assert torch.equal(part.text_label, right.label[part.owner])  # that of the image that they are said to show
    alike = right.label[part.owner] == right.label[right.owner]
    assert data.told["wrong_pairs_of_one_label"] == (moved & alike).sum() // 2


def test_wrong_pairs_are_among_the_known() -> None:
    part = told(paired=20, pair_noise=0.5)
    assert images_of(part) == images_of(told(paired=20))
    assert (part.owner[part.linked] != whole().owner[part.linked]).sum() == 10


def test_so_many_labels_are_wrong_and_never_by_chance_right() -> None:
    data = Toy(regime=Regime(seed=0, label_noise=0.25))
    wrong = data.part("train").label != whole().label
    assert wrong.sum() == 24 == data.told["wrong_labels"]
    assert data.part("train").label.unique().tolist() == list(range(CLASSES))


def test_labels_are_told_of_all_of_the_paired_or_of_none() -> None:
    known = told(paired=40, labels="paired")
    paired = torch.isin(torch.arange(IMAGES), known.owner)
    assert known.text_label is not None
    assert torch.equal(known.label >= 0, paired)
    assert torch.equal(known.text_label >= 0, known.owner >= 0)
    assert torch.equal(told(paired=40).label, whole().label)
    assert told(labels="none").label.unique().tolist() == [-1]
    several = Toy(multi_label=True, regime=Regime(seed=0, paired=40, labels="paired")).part("train")
    assert (several.label.sum(1) > 0).sum() == 40
    assert Toy(regime=Regime(seed=0, labels="none")).spec.class_counts == (0,) * CLASSES


def test_other_parts_and_the_checksum_of_the_data_stay_as_they_are() -> None:
    weak, plain = Toy(regime=Regime(seed=0, paired=5, labels="paired")), Toy()
    for part in ("val", "test"):
        assert torch.equal(weak.part(part).label, plain.part(part).label)
    assert weak.checksum() == plain.checksum()
    assert plain.part("train").text_label is None
    assert plain.told == {}
    assert weak.told["words"] == "paired 5, labels of the paired"
    assert weak.told["checksum"] != Toy(regime=Regime(seed=0, paired=6, labels="paired")).told["checksum"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (Toy(regime=Regime(seed=0, paired=97)), "data.regime.paired is 97, but there are 96 training images"),
        (Toy(level="instance", regime=Regime(seed=0, labels="none")), "measured without labels"),
        (Toy(multi_label=True, regime=Regime(seed=0, label_noise=0.5)), "for items of one label"),
        (Toy(regime=Regime(seed=0, paired=0, labels="paired")), "nothing to learn from"),
        (Toy(level="instance", regime=Regime(seed=0, paired=0)), "nothing to learn from"),
        (Toy(regime=Regime(seed=0, paired=20, pair_noise=0.05)), "two images are needed"),
    ],
)
def test_what_cannot_be_is_said(data: Toy, message: str) -> None:
    with pytest.raises(UserError, match=message):
        data.part("train")


def test_composed_queries_have_no_regime() -> None:
    data = ToyComposed()
    data.regime = Regime(paired=5)
    with pytest.raises(UserError, match="not for composed queries"):
        data.part("train")
