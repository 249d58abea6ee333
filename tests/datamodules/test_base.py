from typing import Any

import pytest
import torch

import datamodules
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import INSTANCE_LEVEL
from datamodules import CrossModalData, Split
from tests.toy import Toy


def test_a_batch_is_moved_only_where_it_is_not_yet() -> None:
    data = Toy()
    batch = next(iter(data.train_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("cpu"), 0) is batch
    moved = data.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert type(moved) is type(batch)
    assert {tensor.device.type for tensor in moved if tensor is not None} == {"meta"}


def test_every_data_set_can_be_imported_by_its_name() -> None:
    assert {"Shapes", "ShapesComposed", "Pairs", "Flickr8k", "Flickr30k"} <= set(datamodules.DATA_SETS)
    assert all(getattr(datamodules, name) is data_set for name, data_set in datamodules.DATA_SETS.items())
    with pytest.raises(ImportError, match="Nothing"):
        from datamodules import Nothing  # noqa: F401


class Undeclared(CrossModalData):
    """What a person writes first."""

    features = "toy features"
    split = Split("toy", "0" * 16)

    def read(self, part: Any) -> Any:
        return Toy().read(part)


class WithoutProtocols(Undeclared):
    classes = ("a", "b", "c", "d")


class TooFewClasses(Undeclared):
    classes = ("a", "b")
    protocols = INSTANCE_LEVEL


class NoPart(TooFewClasses):
    def read(self, part: Any) -> Any:
        return {"image": torch.ones(3, 2)}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Undeclared, r"Undeclared has no `classes`; set it in the class"),
        (WithoutProtocols, r"WithoutProtocols has no `protocols`; set it in the class"),
        (TooFewClasses, r"the train part has labels of 4 classes, but the data set names 2 in `classes`"),
        (NoPart, r"NoPart\.read returns a dict, but must return a `Part`"),
    ],
)
def test_what_a_data_set_lacks_is_named(kind: type[CrossModalData], message: str) -> None:
    with pytest.raises(UserError, match=message):
        _ = kind().spec


def test_a_fault_in_read_is_not_taken_for_a_data_set_without_a_spec() -> None:
    class Faulty(Toy):
        def read(self, part: Any) -> Any:
            return None.image  # type: ignore[attr-defined]

    with pytest.raises(RuntimeError, match="Faulty cannot be read: 'NoneType' object has no attribute 'image'"):
        _ = Faulty().spec
