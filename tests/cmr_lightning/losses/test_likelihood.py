import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmr_lightning.losses import label_regression, pair_distance, pairwise_likelihood

from .samples import cosine, distance, mean, sample


def test_pairwise_likelihood_equals_a_loop() -> None:
    batch = sample()
    images, texts = batch.images.tolist(), batch.texts.tolist()
    expected = 0.0
    for first, second in ((images, images), (images, texts), (texts, texts)):
        for i in range(6):
            for j in range(6):
                theta = cosine(first[i], second[j]) / 2
                expected += (math.log(1 + math.exp(theta)) - bool(batch.same[i, j]) * theta) / 36
    value = pairwise_likelihood(batch.images, batch.texts, batch.same)
    assert value.item() == pytest.approx(expected, abs=1e-9)


def test_likelihood_prefers_classes_together() -> None:
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    sorted_out = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    mixed_up = sorted_out[[0, 2, 1]]
    assert pairwise_likelihood(sorted_out, sorted_out, same) < pairwise_likelihood(mixed_up, mixed_up, same)


def test_own_pairs_are_of_one_class_even_without_labels() -> None:
    batch = sample()
    no_labels = torch.zeros(6, 6, dtype=torch.bool)
    torch.testing.assert_close(
        pairwise_likelihood(batch.images, batch.texts, no_labels),
        pairwise_likelihood(batch.images, batch.texts, torch.eye(6, dtype=torch.bool)),
    )


def test_label_regression_equals_a_loop() -> None:
    batch = sample()
    rows = zip(batch.image_logits.tolist(), batch.one_hot.tolist(), strict=True)
    expected = mean([distance(logits, hot) for logits, hot in rows])
    assert label_regression(batch.image_logits, batch.one_hot).item() == pytest.approx(expected, abs=1e-9)


def test_pair_distance_equals_a_loop() -> None:
    batch = sample()
    rows = zip(batch.images.tolist(), batch.texts.tolist(), strict=True)
    expected = mean([distance(image, text) for image, text in rows])
    assert pair_distance(batch.images, batch.texts).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("term", [label_regression, pair_distance])
def test_norms_have_a_gradient_at_zero(term: Callable[[Tensor, Tensor], Tensor]) -> None:
    target = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    points = torch.tensor([[1.0, 0.0], [0.0, 3.0]], requires_grad=True)
    value = term(points, target)
    value.backward()
    assert value.item() == 1
    assert points.grad.tolist() == [[0, 0], [0, 0.5]]
