from math import exp

import pytest
import torch

from cmr_lightning.losses import class_product, entropy_weights

from .loops import entropy, mean
from .samples import sample

BATCH = sample()
SOFT = BATCH.unpaired_classes[1:]


def test_each_class_has_a_block_of_its_own() -> None:
    points, labels = BATCH.images, BATCH.label
    blocks = torch.randn(3, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    outputs = class_product(points, BATCH.one_hot) @ blocks.flatten()
    torch.testing.assert_close(outputs, 3**0.5 * (points * blocks[labels]).sum(1))
    order = [2, 0, 1]
    permuted = class_product(BATCH.texts, SOFT[:6, order]) @ blocks[order].flatten()
    torch.testing.assert_close(permuted, class_product(BATCH.texts, SOFT[:6]) @ blocks.flatten())


def test_a_flat_distribution_leaves_points_their_length_and_gets_no_gradient() -> None:
    flat = torch.full((6, 3), 1 / 3, dtype=torch.float64, requires_grad=True)
    points = BATCH.images.clone().requires_grad_()
    product = class_product(points, flat)
    torch.testing.assert_close(product.norm(dim=1), points.norm(dim=1))
    product.sum().backward()
    assert flat.grad is None
    assert points.grad.all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_sure_items_weigh_more_and_unknown_ones_nothing(dtype: torch.dtype) -> None:
    classes = torch.cat([BATCH.unpaired_classes, BATCH.classes]).to(dtype).requires_grad_()
    weights = entropy_weights(classes)
    tops = [1 + exp(-entropy([x for x in row if x])) if any(row) else 0.0 for row in classes.tolist()]
    expected = torch.tensor([top / mean(t for t in tops if t) for top in tops], dtype=weights.dtype)
    torch.testing.assert_close(weights, expected)
    assert weights.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert not weights.requires_grad
    assert weights[0].item() == 0
    assert weights[1:].mean().item() == pytest.approx(1)
    assert weights[-1] == weights.max()


def test_weights_of_one_hot_classes_are_1_and_of_unknown_ones_0() -> None:
    assert entropy_weights(BATCH.one_hot).tolist() == [1] * 6
    assert entropy_weights(torch.zeros(4, 3)).tolist() == [0] * 4
