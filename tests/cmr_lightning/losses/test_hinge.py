import pytest
import torch

from cmr_lightning.losses import Mining, Positives, bidirectional_triplet

from .loops import cosine


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


def test_only_the_hardest_negative_gets_a_gradient() -> None:
    images = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    texts = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 2.0]], requires_grad=True)
    only_of_the_first_image = torch.tensor([[False, True, True], [False] * 3, [False] * 3])
    value = bidirectional_triplet(images, texts, only_of_the_first_image)
    value.backward()
    assert value.item() == pytest.approx(0.2 + cosine([1.0, 0.0], [1.0, 1.0]))
    assert texts.grad[1].any()
    assert not texts.grad[2].any()


@pytest.mark.parametrize(
    ("positives", "cost"), [("own", 0.1 + 0.3), ("class", (0.1 + 0.6) / 2 + (0.3 + 1.1) / 2)], ids=["own", "class"]
)
def test_all_of_a_class_attract_an_item_or_its_partner_alone(positives: Positives, cost: float) -> None:
    images = torch.eye(3)
    texts = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.0, 0.75**0.5], [0.6, 0.0, 0.8]], requires_grad=True)
    first_from_third = torch.tensor([[False, False, True], [False] * 3, [False] * 3])
    value = bidirectional_triplet(images, texts, first_from_third, margin=0.5, positives=positives)
    value.backward()
    assert value.item() == pytest.approx(cost)
    assert texts.grad[1].any() == (positives == "class")
