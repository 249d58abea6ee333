import math

import pytest
import torch

from cmr_lightning.losses import cross_modal_projection


def test_cmpm_charges_a_sure_mistake_the_price_of_eps() -> None:
    points = 100 * torch.eye(2, dtype=torch.float64)
    value = cross_modal_projection(points, points.flip(0), torch.eye(2, dtype=torch.bool))
    assert value.item() == pytest.approx(2 * -math.log(1e-8), abs=1e-6)
