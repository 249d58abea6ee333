import torch

from cmr_lightning.losses import class_product

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
