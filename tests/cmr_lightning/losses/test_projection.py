import math

import pytest
import torch

from cmr_lightning.losses import cross_modal_projection, same_image


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
