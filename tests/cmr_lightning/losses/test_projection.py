import math

import pytest
import torch

from cmr_lightning.losses import cross_modal_projection, projection_classification, same_image

from .samples import dot, mean, sample, scaled, softmax


def one_direction(queries: list[list[float]], gallery: list[list[float]], match: list[list[bool]]) -> float:
    rows = []
    for i, query in enumerate(queries):
        p = softmax([dot(query, scaled(item)) for item in gallery])
        q = [value / sum(match[i]) for value in match[i]]
        rows.append(sum(p[j] * math.log(1e-8 + p[j] / (q[j] + 1e-8)) for j in range(len(gallery))))
    return mean(rows)


def test_cmpm_equals_a_loop() -> None:
    batch = sample()
    match = batch.same.clone()
    match[0, 3] = True  # a match need not be symmetric
    images, texts = batch.images.tolist(), batch.texts.tolist()
    expected = one_direction(images, texts, match.tolist()) + one_direction(texts, images, match.T.tolist())
    assert cross_modal_projection(batch.images, batch.texts, match).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("matches", [1, 2, 5])
def test_cmpm_is_zero_where_the_projections_are_the_matches(matches: int) -> None:
    ids = torch.arange(3).repeat_interleave(matches)
    directions = 100 * torch.eye(3)[ids]
    assert cross_modal_projection(directions, directions, same_image(ids, ids)).item() == pytest.approx(0, abs=1e-5)


def test_cmpm_charges_a_sure_mistake_the_price_of_eps() -> None:
    points = 100 * torch.eye(2, dtype=torch.float64)
    value = cross_modal_projection(points, points.flip(0), torch.eye(2, dtype=torch.bool))
    assert value.item() == pytest.approx(2 * -math.log(1e-8), abs=1e-6)


def test_cmpm_does_not_part_texts_of_one_image() -> None:
    ids = torch.tensor([0, 0])
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    texts = torch.ones(2, 2, requires_grad=True)
    cross_modal_projection(images, texts, same_image(ids, ids)).backward()
    torch.testing.assert_close(images.grad, torch.zeros(2, 2))


def test_cmpc_equals_a_loop() -> None:
    batch = sample()
    label, classes = batch.label.tolist(), [scaled(row) for row in batch.weight.tolist()]
    total = 0.0
    for image, text, y in zip(batch.images.tolist(), batch.texts.tolist(), label, strict=True):
        for item, partner in ((image, text), (text, image)):
            direction = scaled(partner)
            projected = [dot(item, direction) * x for x in direction]
            total -= math.log(softmax([dot(row, projected) for row in classes])[y])
    value = projection_classification(batch.images, batch.texts, batch.weight, batch.label)
    assert value.item() == pytest.approx(total / 6, abs=1e-9)


def test_cmpc_does_not_see_the_length_of_its_weights() -> None:
    batch = sample()
    lengths = torch.tensor([[0.1], [1.0], [50.0]], dtype=torch.float64)
    torch.testing.assert_close(
        projection_classification(batch.images, batch.texts, lengths * batch.weight, batch.label),
        projection_classification(batch.images, batch.texts, batch.weight, batch.label),
    )
