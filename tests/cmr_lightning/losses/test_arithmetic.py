import pytest
import torch
from torch import Tensor

from cmr_lightning.losses.arithmetic import SHORTEST, full_precision, unit


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


def test_directions_have_length_one() -> None:
    lengths = torch.linalg.vector_norm(unit(torch.tensor([[3.0, 4.0], [1e4, -1e4], [1e-5, 0.0]])), dim=1)
    torch.testing.assert_close(lengths, torch.ones(3))


@pytest.mark.parametrize("length", [0.0, SHORTEST / 2])
def test_a_vector_without_direction_is_zero_without_gradient(length: float) -> None:
    embeddings = torch.tensor([[length, 0.0], [1.0, 2.0]], requires_grad=True)
    directions = unit(embeddings)
    (directions * torch.tensor([[1.0, 1.0], [1.0, -1.0]])).sum().backward()
    assert embeddings.grad is not None
    assert directions[0].tolist() == [0, 0]
    assert embeddings.grad[0].tolist() == [0, 0]
    assert embeddings.grad[1].abs().min() > 0
