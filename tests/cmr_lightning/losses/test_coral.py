import pytest
import torch

from cmr_lightning.losses import coral

from .samples import sample

BATCH = sample()
DIM = BATCH.images.shape[1]


def test_it_compares_covariances_as_torch_computes_them() -> None:
    difference = torch.cov(BATCH.images.T) - torch.cov(BATCH.unpaired.T)
    expected = torch.linalg.matrix_norm(difference) ** 2 / (4 * DIM**2)
    torch.testing.assert_close(coral(BATCH.images, BATCH.unpaired, means=False), expected, rtol=1e-12, atol=0)


def test_a_constant_added_to_one_modality_is_seen_by_means_alone() -> None:
    constant = torch.arange(5.0, dtype=torch.float64)
    for means, added in ((False, 0.0), (True, constant.square().mean().item())):
        assert coral(BATCH.images, BATCH.images + constant, means).item() == pytest.approx(added, abs=1e-12)
        assert coral(BATCH.images, BATCH.images, means).item() == 0


def test_a_single_item_has_a_covariance_of_0() -> None:
    images = BATCH.images.clone().requires_grad_()
    value = coral(images, BATCH.texts[:1], means=False)
    value.backward()
    expected = torch.cov(images.T).square().sum() / (4 * DIM**2)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=0)
    assert images.grad.isfinite().all()
