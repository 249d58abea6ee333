import pytest
import torch

from cmr_lightning.losses import invariance_triplet

from .samples import distance, mean, sample


@pytest.mark.parametrize("margin", [1.0, 4.0])
def test_equals_a_loop(margin: float) -> None:
    batch = sample()
    images, texts, label = batch.images.tolist(), batch.texts.tolist(), batch.label.tolist()
    expected = 0.0
    for queries, gallery in ((images, texts), (texts, images)):
        for i, query in enumerate(queries):
            strangers = [gallery[j] for j in range(6) if label[j] != label[i]]
            hinges = [max(0.0, margin - distance(query, item)) for item in strangers]
            expected += (distance(query, gallery[i]) + 0.5 * mean(hinges)) / 6
    value = invariance_triplet(batch.images, batch.texts, batch.same, margin, weight=0.5)
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_the_hinge_is_zero_beyond_the_margin() -> None:
    points = 3 * torch.eye(2)
    apart = 3 * 2**0.5
    different = torch.eye(2, dtype=torch.bool)
    assert invariance_triplet(points, points, different, margin=apart - 0.1, weight=1.0).item() == 0
    beyond = invariance_triplet(points, points, different, margin=apart + 0.1, weight=1.0)
    assert beyond.item() == pytest.approx(0.2, abs=1e-5)


def test_items_of_one_class_and_own_pairs_are_never_negatives() -> None:
    points = torch.ones(3, 2, requires_grad=True)
    value = invariance_triplet(points, points, torch.ones(3, 3, dtype=torch.bool), margin=5.0, weight=1.0)
    value.backward()
    assert value.item() == 0
    assert not points.grad.any()
    no_labels = torch.zeros(1, 1, dtype=torch.bool)
    assert invariance_triplet(points[:1], points[:1], no_labels, margin=5.0, weight=1.0).item() == 0


def test_weight_zero_leaves_the_distance_of_the_pairs() -> None:
    batch = sample()
    pairs = zip(batch.images.tolist(), batch.texts.tolist(), strict=True)
    expected = 2 * mean([distance(image, text) for image, text in pairs])
    value = invariance_triplet(batch.images, batch.texts, batch.same, margin=4.0, weight=0.0)
    assert value.item() == pytest.approx(expected, abs=1e-9)
