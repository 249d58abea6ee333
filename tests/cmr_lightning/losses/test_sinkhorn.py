import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from cmr_lightning.losses import sinkhorn_divergence
from cmr_lightning.losses.arithmetic import squared_distances

from .samples import sample

BATCH = sample()


def at(eps: float, images: Tensor, texts: Tensor) -> float:
    """The divergence for an eps that does not depend on the points."""
    return sinkhorn_divergence(images, texts, eps / squared_distances(images, texts).mean().item() * 2).item()


def test_equal_clouds_have_none_and_the_roles_are_alike() -> None:
    assert sinkhorn_divergence(BATCH.images, BATCH.images).item() == 0
    there, back = (
        sinkhorn_divergence(*clouds) for clouds in [(BATCH.images, BATCH.unpaired), (BATCH.unpaired, BATCH.images)]
    )
    assert there.item() == pytest.approx(back.item(), rel=1e-12)
    assert there.item() > 0


def test_a_small_eps_finds_the_best_assignment() -> None:
    images, texts = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    costs = squared_distances(images, texts) / 2
    best = costs[linear_sum_assignment(costs)].mean().item()
    errors = [abs(sinkhorn_divergence(images, texts, share).item() / best - 1) for share in (0.3, 0.05, 0.005)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02


def test_a_large_eps_compares_the_means() -> None:
    apart = (BATCH.images.mean(0) - BATCH.unpaired.mean(0)).square().sum().item() / 2
    assert sinkhorn_divergence(BATCH.images, BATCH.unpaired, 1e4).item() == pytest.approx(apart, rel=1e-3)


@pytest.mark.parametrize("eps", [0.3, 3.0])
def test_a_shift_adds_half_its_square(eps: float) -> None:
    shift = torch.arange(5.0, dtype=torch.float64)
    half_square = shift.square().sum().item() / 2
    assert at(eps, BATCH.images, BATCH.images + shift) == pytest.approx(half_square, rel=1e-6)
    images, texts = BATCH.images - BATCH.images.mean(0), BATCH.unpaired - BATCH.unpaired.mean(0)
    assert at(4.0, images, texts + shift) == pytest.approx(at(4.0, images, texts) + half_square, rel=1e-6)


def test_it_grows_with_the_square_of_the_scale() -> None:
    value, large = (sinkhorn_divergence(c * BATCH.images, c * BATCH.unpaired).item() for c in (1, 100))
    assert large == pytest.approx(1e4 * value, rel=1e-9)


def test_single_items_are_moved_as_they_are() -> None:
    image, text = BATCH.images[:1], BATCH.texts[:1]
    assert sinkhorn_divergence(image, text).item() == pytest.approx(squared_distances(image, text).item() / 2)
    to_all = sinkhorn_divergence(image, BATCH.texts, 1e4).item()
    assert to_all == pytest.approx((image - BATCH.texts.mean(0)).square().sum().item() / 2, rel=1e-3)
