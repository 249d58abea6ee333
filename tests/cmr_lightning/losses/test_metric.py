from dataclasses import replace

import pytest
import torch

from cmr_lightning.losses import cross_difference, inter_class, intra_class, paired_difference

from .samples import mean, sample, scaled, squared_distance


def nearest_first(points: list[list[float]], i: int, others: list[int], neighbours: int | None) -> list[float]:
    """Squared distances from point i to the others, the nearest ones only."""
    return sorted(squared_distance(points[i], points[j]) for j in others)[:neighbours]


@pytest.mark.parametrize("neighbours", [None, 1, 2, 50])
def test_intra_class_equals_a_loop(neighbours: int | None) -> None:
    batch = sample()
    points, label = [scaled(row) for row in batch.images.tolist()], batch.label.tolist()
    rows = []
    for i in range(len(label)):
        mates = [j for j in range(len(label)) if j != i and label[j] == label[i]]
        if mates:
            rows.append(mean(nearest_first(points, i, mates, neighbours)))
    assert len(rows) == 5  # the item alone in its class does not count
    assert intra_class(batch.images, batch.same, neighbours).item() == pytest.approx(mean(rows), abs=1e-9)


@pytest.mark.parametrize("neighbours", [None, 1, 3, 50])
@pytest.mark.parametrize("margin", [None, 1.0, 2.5])
def test_inter_class_equals_a_loop(margin: float | None, neighbours: int | None) -> None:
    batch = sample()
    points, label = [scaled(row) for row in batch.images.tolist()], batch.label.tolist()
    rows = []
    for i in range(len(label)):
        strangers = [j for j in range(len(label)) if label[j] != label[i]]
        distances = nearest_first(points, i, strangers, neighbours)
        rows.append(mean([-d if margin is None else max(0.0, margin - d) for d in distances]))
    value = inter_class(batch.images, batch.same, margin, neighbours)
    assert value.item() == pytest.approx(mean(rows), abs=1e-9)


def test_paired_difference_equals_a_loop() -> None:
    batch = sample()
    pairs = zip(batch.images.tolist(), batch.texts.tolist(), strict=True)
    expected = mean([squared_distance(scaled(image), scaled(text)) for image, text in pairs])
    assert paired_difference(batch.images, batch.texts).item() == pytest.approx(expected, abs=1e-9)


def test_cross_difference_equals_a_loop() -> None:
    batch = sample()
    images, texts, label = batch.images.tolist(), batch.texts.tolist(), batch.label.tolist()
    rows = []
    for i, image in enumerate(images):
        mates = [text for j, text in enumerate(texts) if label[j] == label[i]]
        rows.append(mean([squared_distance(scaled(image), scaled(text)) for text in mates]))
    assert cross_difference(batch.images, batch.texts, batch.same).item() == pytest.approx(mean(rows), abs=1e-9)


def test_cross_difference_within_pairs_is_the_paired_difference() -> None:
    batch = replace(sample(), label=torch.arange(6))
    cross = cross_difference(batch.images, batch.texts, batch.same)
    torch.testing.assert_close(cross, paired_difference(batch.images, batch.texts), rtol=0, atol=1e-12)


def test_a_step_on_intra_class_draws_classes_together() -> None:
    batch = sample()
    points = batch.images.clone().requires_grad_()
    before = intra_class(points, batch.same)
    before.backward()
    assert intra_class(points - 0.1 * points.grad, batch.same) < before


@pytest.mark.parametrize("margin", [None, 2.0])
def test_a_step_on_inter_class_drives_classes_apart(margin: float | None) -> None:
    batch = sample()
    points = batch.images.clone().requires_grad_()
    inter_class(points, batch.same, margin).backward()
    moved = points - 0.1 * points.grad
    assert inter_class(moved, batch.same, margin=None) < inter_class(points, batch.same, margin=None)


def test_the_hinge_is_zero_beyond_the_margin() -> None:
    opposite = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    value = inter_class(opposite, same, margin=3.9)
    value.backward()
    assert value.item() == 0
    assert not opposite.grad.any()
    assert inter_class(opposite, same, margin=4.1).item() == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("neighbours", [None, 2])
def test_items_of_one_class_are_never_negatives(neighbours: int | None) -> None:
    points = torch.ones(4, 3, requires_grad=True)
    value = inter_class(points, torch.ones(4, 4, dtype=torch.bool), neighbours=neighbours)
    value.backward()
    assert value.item() == 0
    assert not points.grad.any()


def test_an_item_without_labels_is_not_its_own_negative() -> None:
    points = torch.eye(3)
    assert inter_class(points, torch.zeros(3, 3, dtype=torch.bool), margin=1.0).item() == 0


def test_an_item_is_not_its_own_neighbour() -> None:
    points = torch.eye(2)
    assert intra_class(points, torch.ones(2, 2, dtype=torch.bool), neighbours=1).item() == pytest.approx(2)
