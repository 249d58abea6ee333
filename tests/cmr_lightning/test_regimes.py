"""Trainings in which little is told: they run, and what is not told cannot reach a weight."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning.discriminators import DotProductCritic
from cmr_lightning.game.alignments import (
    MMD,
    AlignmentFactory,
    ClassCentring,
    ConditionalAdversary,
    ModalityAdversary,
    WassersteinAdversary,
)
from cmr_lightning.methods import METHODS
from cmr_lightning.methods.ssal import SSAL
from cmr_lightning.retriever import Retriever
from datamodules import Shapes
from datamodules.base import PartName
from datamodules.reading import regime as regimes
from datamodules.reading.loaders import Part
from datamodules.reading.regime import Regime
from tests.building import trainer
from tests.cmr_lightning.methods.reach import picture_method
from tests.toy import CLASSES, Toy, toy_model

CRITIC = partial(DotProductCritic, units=8)
SETTINGS: dict[str, dict[str, Any]] = {"DSCMR": {"width": 8}, "SSAL": {"turns": False}, "InfoMax": {"critic": CRITIC}}
ON_VECTORS = sorted(
    name
    for name, method in METHODS.items()
    if issubclass(method, Retriever) and "label" in method.tasks and "composed" not in method.tasks
)


class Shuffled(Toy):
    """The same data, in which the links that are not told are others, and so are the labels."""

    def read(self, part: PartName) -> Part:
        true = super().read(part)
        if part != "train":
            return true
        told, _ = self.regime.tell(true, labelled=True)
        draw = torch.Generator().manual_seed(1)
        unknown, owner, label = told.owner < 0, true.owner.clone(), true.label.clone()
        if self.regime.labels == "all":  # known labels stay those of the texts
            for c in range(CLASSES):
                of_class = unknown & (true.label[true.owner] == c)
                owner[of_class] = _shuffled(owner[of_class], draw)
        else:
            owner[unknown] = _shuffled(owner[unknown], draw)
            label[told.label < 0] = _shuffled(label[told.label < 0], draw)
        assert not torch.equal(owner, true.owner)
        return replace(true, owner=owner, label=label)


def _shuffled(values: Tensor, draw: torch.Generator) -> Tensor:
    return values[torch.randperm(len(values), generator=draw)]


def weights(data: Toy, name: str, alignment: AlignmentFactory | None) -> dict[str, Tensor]:
    torch.manual_seed(0)
    model = toy_model(METHODS[name], data, alignment=alignment, **SETTINGS.get(name, {}))  # type: ignore[type-var]
    trainer(max_steps=8).fit(model, datamodule=data)
    return {key: value.clone() for key, value in model.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def two_trainings(
    monkeypatch: pytest.MonkeyPatch, name: str, alignment: AlignmentFactory | None, **settings: Any
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights after trainings on the data as they are, and with all shuffled that is not told."""
    data = Toy(regime=Regime(**{"seed": 0, **settings}))
    order = regimes._balanced_order(data._whole("train").label, data.regime._generator("pairs"))
    monkeypatch.setattr(regimes, "_balanced_order", lambda label, generator: order)  # the same pairs are told
    shuffled = Shuffled(regime=Regime(**{"seed": 0, **settings}))
    assert shuffled.told["checksum"] == data.told["checksum"]
    return weights(data, name, alignment), weights(shuffled, name, alignment)


@pytest.mark.parametrize(("name", "labels"), [*((name, "paired") for name in ON_VECTORS), ("DAML", "all")])
def test_nothing_that_is_not_told_reaches_a_weight(monkeypatch: pytest.MonkeyPatch, name: str, labels: str) -> None:
    assert equal(*two_trainings(monkeypatch, name, ModalityAdversary, paired=20, labels=labels))


@pytest.mark.parametrize(
    ("alignment", "labels"),
    [
        (partial(ConditionalAdversary, classes="predicted"), "all"),
        (ConditionalAdversary, "paired"),
        (ClassCentring, "all"),
        (MMD, "paired"),
        (partial(WassersteinAdversary, classes="labels"), "paired"),
    ],
)
def test_nor_by_way_of_an_alignment(monkeypatch: pytest.MonkeyPatch, alignment: AlignmentFactory, labels: str) -> None:
    assert equal(*two_trainings(monkeypatch, "ACMR", alignment, paired=20, labels=labels))


@pytest.mark.parametrize("told", [{}, {"paired": 40, "labels": "paired"}, {"paired": 20}])
def test_what_is_told_does_reach_them(told: dict[str, Any]) -> None:
    with_fewer = weights(Toy(regime=Regime(seed=0, paired=20, labels="paired")), "ACMR", None)
    assert not equal(with_fewer, weights(Toy(regime=Regime(seed=0, **told)), "ACMR", None))


def test_an_alignment_sees_items_that_no_pair_has() -> None:
    few = Regime(paired=20, labels="paired")
    assert not equal(weights(Toy(regime=few), "ACMR", None), weights(Toy(regime=few), "ACMR", MMD))


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ON_VECTORS)
@pytest.mark.parametrize("settings", [{"paired": 0}, {"labels": "none", "pair_noise": 0.5}])
def test_every_method_trains_on_what_is_left(name: str, settings: dict[str, Any]) -> None:
    trained = weights(Toy(regime=Regime(**{"seed": 0, **settings})), name, MMD)
    assert all(value.isfinite().all() for value in trained.values())


@pytest.mark.parametrize("paired", [0, 8])
def test_networks_that_take_no_empty_batch_train_without_pairs(paired: int) -> None:
    few = Regime(paired=paired, seed=0)
    sizes = {"num_train": 40, "num_val": 20, "num_test": 20, "picture_size": 32, "batch_size": 20}
    data = Shapes(**sizes, epoch_of="images", regime=few)  # type: ignore[arg-type]
    model = picture_method(SSAL, data)
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer(max_epochs=1).fit(model, datamodule=data)
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert still == []
