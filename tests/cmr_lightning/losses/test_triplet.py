import pytest
import torch

from cmr_lightning.losses import Mining, Reduction, bidirectional_triplet

from .samples import cosine, sample


@pytest.mark.parametrize("mining", ["hardest", "sum"])
@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("margin", [0.2, 0.7])
def test_equals_a_loop(mining: Mining, reduction: Reduction, margin: float) -> None:
    batch = sample()
    images, texts = batch.images.tolist(), batch.texts.tolist()
    negatives = ~batch.same
    negatives[0, 5] = False  # a mask need not be symmetric
    total = 0.0
    for i in range(6):
        own = cosine(images[i], texts[i])
        by_image = [max(0.0, margin - own + cosine(images[i], texts[j])) for j in range(6) if negatives[i, j]]
        by_text = [max(0.0, margin - own + cosine(images[j], texts[i])) for j in range(6) if negatives[j, i]]
        chosen = max if mining == "hardest" else sum
        total += chosen(by_image) + chosen(by_text)
    expected = total / 6 if reduction == "mean" else total
    value = bidirectional_triplet(batch.images, batch.texts, negatives, margin, mining, reduction)
    assert value.item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_hardest_costs_no_more_than_the_sum(seed: int) -> None:
    batch = sample(seed=seed)
    hardest = bidirectional_triplet(batch.images, batch.texts, ~batch.same, mining="hardest")
    assert 0 < hardest < bidirectional_triplet(batch.images, batch.texts, ~batch.same, mining="sum")


@pytest.mark.parametrize("mining", ["hardest", "sum"])
def test_texts_of_one_image_are_never_negatives(mining: Mining) -> None:
    images = torch.eye(3).requires_grad_()
    texts = torch.eye(3)[[1, 0, 2]].requires_grad_()  # the first two images have each other's text
    ids = torch.tensor([0, 0, 1])
    value = bidirectional_triplet(images, texts, ids[:, None] != ids[None, :], margin=0.0, mining=mining)
    value.backward()
    assert value.item() == 0
    assert not images.grad.any()
    assert bidirectional_triplet(images, texts, ~torch.eye(3, dtype=torch.bool), margin=0.0, mining=mining).item() == 4


@pytest.mark.parametrize("mining", ["hardest", "sum"])
def test_own_pairs_are_never_negatives(mining: Mining) -> None:
    points = torch.eye(2)
    everything = torch.ones(2, 2, dtype=torch.bool)
    assert bidirectional_triplet(points, points, everything, mining=mining).item() == 0


def test_the_hinge_is_zero_beyond_the_margin() -> None:
    points = torch.eye(2)
    negatives = ~torch.eye(2, dtype=torch.bool)
    assert bidirectional_triplet(points, points, negatives, margin=1.0).item() == 0
    assert bidirectional_triplet(points, points, negatives, margin=1.5).item() == pytest.approx(4 * 0.5)


def test_only_the_hardest_negative_gets_a_gradient() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    texts = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 2.0]], requires_grad=True)
    only_of_the_first_image = torch.tensor([[False, True, True], [False] * 3, [False] * 3])
    value = bidirectional_triplet(images, texts, only_of_the_first_image)
    value.backward()
    assert value.item() == pytest.approx(0.2 + cosine([1.0, 0.0], [1.0, 1.0]))
    assert texts.grad[1].any()
    assert not texts.grad[2].any()
