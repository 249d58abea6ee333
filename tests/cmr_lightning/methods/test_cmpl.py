from __future__ import annotations

import math

import pytest
import torch

from cmr_lightning.methods.cmpl import CMPL, targets
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import CLASSES, Toy


@pytest.mark.parametrize(
    ("term", "expected"),
    [("cmpm", ENCODERS), ("cmpc", ENCODERS | {"classifier"}), ("adversarial", ENCODERS)],
)
@pytest.mark.parametrize("level", ["label", "instance"])
def test_which_term_reaches_which_parameters(term: str, expected: set[str], level: str) -> None:
    data = Toy(level=level)
    assert reached(toy_method(CMPL, data), first_batch(data), term) == expected


@pytest.mark.parametrize(("level", "classes"), [("label", CLASSES), ("instance", 96)])
def test_classes_are_the_labels_or_the_training_images(level: str, classes: int) -> None:
    data = Toy(captions=2, level=level)
    model, batch = toy_method(CMPL, data), first_batch(data)
    assert model.classifier.weight.shape == (classes, 8)
    assert model.classifier.bias is None
    assert torch.equal(targets(batch, data.spec), batch.label if level == "label" else batch.image_id)


def test_an_item_with_several_labels_is_a_part_of_each() -> None:
    data = Toy(multi_label=True)
    target = targets(first_batch(data), data.spec)
    assert torch.allclose(target.sum(1), torch.ones(len(target)))
    assert set(target.unique().tolist()) == {0.0, 0.5, 1.0}
    assert reached(toy_method(CMPL, data), first_batch(data), "cmpc") == ENCODERS | {"classifier"}


@pytest.mark.parametrize("level", ["label", "instance"])
def test_matches_share_the_target_of_the_projections(level: str) -> None:
    data = Toy(num_train=20, captions=3, level=level)
    model, batch = toy_method(CMPL, data), first_batch(data)
    group = (batch.label if level == "label" else batch.image_id).tolist()
    assert len(set(group)) < len(group)
    expected = 0.0
    for queries, gallery in (model.embed(batch).pair, reversed(model.embed(batch).pair)):
        for i, query in enumerate(queries):
            p = torch.softmax(torch.stack([query @ other / other.norm() for other in gallery]), 0).tolist()
            for j, other in enumerate(group):
                q = (other == group[i]) / group.count(group[i])
                expected += p[j] * math.log(1e-8 + p[j] / (q + 1e-8)) / len(group)
    assert losses(model, batch)["cmpm"].item() == pytest.approx(expected, rel=1e-4)
