import pytest
import torch

from cmr_lightning.losses.geometry import SHORTEST, cosine, unit


def test_directions_have_length_one() -> None:
    lengths = torch.linalg.vector_norm(unit(torch.tensor([[3.0, 4.0], [1e4, -1e4], [1e-5, 0.0]])), dim=1)
    torch.testing.assert_close(lengths, torch.ones(3))


def test_cosine_of_each_with_each() -> None:
    cosines = cosine(torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0], [-3.0, 0.0]]))
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.0, -1.0], [0.5**0.5, 0.5**0.5, -(0.5**0.5)]]))


@pytest.mark.parametrize("length", [0.0, SHORTEST / 2])
def test_a_vector_without_direction_is_zero_without_gradient(length: float) -> None:
    embeddings = torch.tensor([[length, 0.0], [1.0, 2.0]], requires_grad=True)
    directions = unit(embeddings)
    (directions * torch.tensor([[1.0, 1.0], [1.0, -1.0]])).sum().backward()
    assert embeddings.grad is not None
    assert directions[0].tolist() == [0, 0]
    assert embeddings.grad[0].tolist() == [0, 0]
    assert embeddings.grad[1].abs().min() > 0
