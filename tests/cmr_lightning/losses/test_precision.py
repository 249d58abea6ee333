import pytest
import torch
from torch import Tensor

from cmr_lightning.losses.precision import full_precision


@full_precision
def product(first: Tensor, second: Tensor, power: int = 1) -> Tensor:
    """Matrix product."""
    return (first @ second) ** power


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_widened_by_position_and_by_name(dtype: torch.dtype) -> None:
    powers_of_two = torch.full((2, 2), 256.0, dtype=dtype)
    value = product(powers_of_two, second=powers_of_two, power=2)
    assert value.dtype == torch.float32
    assert value.tolist() == [[2.0**34] * 2] * 2


def test_autocast_is_off_inside_and_restored_after() -> None:
    large = torch.full((2, 2), 1e4)
    with torch.autocast("cpu", torch.float16):
        assert product(large, large).dtype == torch.float32
        assert (large @ large).dtype == torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_other_types_stay(dtype: torch.dtype) -> None:
    assert product(torch.ones(1, 1, dtype=dtype), torch.ones(1, 1, dtype=dtype)).dtype == dtype


def test_a_loss_keeps_its_name_and_documentation() -> None:
    assert product.__name__ == "product"
    assert product.__doc__ == "Matrix product."
