"""The multilayer perceptron that the classifiers share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn


def perceptron(dim: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Linear layers with ReLU, and dropout after it, between them; nothing after the last.

    Args:
        dim: Size of the input.
        hidden: Sizes of the hidden layers; none makes one linear layer.
        outputs: Size of the output.
        dropout: Probability in 0..1 that a hidden unit is dropped in training.

    Returns:
        A module from `(..., dim)` to `(..., outputs)`.
    """
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise([dim, *hidden]):
        layers += [nn.Linear(size_in, size_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear([dim, *hidden][-1], outputs))
