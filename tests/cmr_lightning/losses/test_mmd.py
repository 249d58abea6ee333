from itertools import combinations

import pytest
import torch
from torch import Tensor

from cmr_lightning.losses import maximum_mean_discrepancy

from .loops import mean
from .samples import sample

BATCH = sample()
either = pytest.mark.parametrize("unbiased", [False, True])


@either
def test_scale_place_and_direction_of_all_points_are_immaterial(unbiased: bool) -> None:
    turn, _ = torch.linalg.qr(BATCH.images[:5])
    value = maximum_mean_discrepancy(BATCH.images, BATCH.unpaired, unbiased)
    for moved in (lambda x: 1e-3 * x, lambda x: 1e3 * x, lambda x: x + 100, lambda x: x @ turn):
        again = maximum_mean_discrepancy(moved(BATCH.images), moved(BATCH.unpaired), unbiased)
        torch.testing.assert_close(again, value, rtol=0, atol=1e-9)


def test_the_biased_form_is_0_for_equal_sets_and_above_0_for_others() -> None:
    again = BATCH.images.repeat(2, 1)
    assert abs(maximum_mean_discrepancy(BATCH.images, again).item()) < 1e-12
    assert maximum_mean_discrepancy(BATCH.images, BATCH.unpaired).item() > 0


@pytest.mark.parametrize("items", [1, 3])
def test_the_unbiased_form_is_0_on_average_over_all_divisions_of_one_set(items: int) -> None:
    points, values = BATCH.unpaired, []
    for chosen in combinations(range(len(points)), items):
        rest = [i for i in range(len(points)) if i not in chosen]
        values.append([maximum_mean_discrepancy(points[[*chosen]], points[rest], u).item() for u in (True, False)])
    unbiased, biased = map(mean, zip(*values, strict=True))
    if items > 1:
        assert abs(unbiased) < 1e-12
        assert min(value for value, _ in values) < 0
    assert biased > 0.1


def collapsed(first: float, second: float, texts: int) -> tuple[Tensor, Tensor]:
    return torch.full((6, 5), first, requires_grad=True), torch.full((texts, 5), second, requires_grad=True)


@either
@pytest.mark.parametrize(
    ("images", "texts"),
    [collapsed(0.3, 0.3, 4), collapsed(0.3, 0.8, 1)],
    ids=["all points coincide", "most points coincide"],
)
def test_there_is_no_gradient_without_a_scale(images: Tensor, texts: Tensor, unbiased: bool) -> None:
    value = maximum_mean_discrepancy(images, texts, unbiased)
    grads = torch.autograd.grad(value, (images, texts))
    assert value.isfinite()
    assert not any(grad.any() for grad in grads)


def test_two_modalities_that_have_each_collapsed_still_attract() -> None:
    images, texts = collapsed(0.3, 0.8, 6)
    maximum_mean_discrepancy(images, texts).backward()
    assert (images.grad < 0).all()
    assert (texts.grad > 0).all()
