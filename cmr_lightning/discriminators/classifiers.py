"""Classifiers of embeddings: by modality, and by the angle that an image was turned by."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated

from annotated_types import Ge
from torch import Tensor, nn

from cmr_lightning.ranges import Checked, Count, Probability, Width

Discriminator = Callable[[int], nn.Module]
"""Makes a discriminator from the size of what it sees, such as that of the common space."""


class ModalityClassifier(Checked, nn.Module):
    """Tells by one logit if an embedding comes from an image (positive) or a text (negative).

    One hidden layer of 50 units is ACMR's (Wang et al., "Adversarial Cross-Modal Retrieval", ACM MM 2017); one logit in
    place of a two-way softmax is the same model with fewer parameters.

    Args:
        dim: Size D of the common space.
        hidden: Sizes of the hidden layers, ReLU after each; none makes a linear classifier.
        dropout: Probability in 0..1 that a hidden unit is dropped in training: keeps the classifier weak.

    Examples:
        >>> import torch
        >>> ModalityClassifier(dim=8, hidden=[6, 4])(torch.ones(5, 8)).shape
        torch.Size([5])
    """

    def __init__(self, dim: Width, hidden: Sequence[Width] = (50,), dropout: Probability = 0.0) -> None:
        super().__init__()
        self.layers = perceptron(dim, hidden, 1, dropout)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute logits `(N,)` of embeddings `(N, D)`."""
        return self.layers(embeddings).squeeze(-1)


class RotationClassifier(Checked, nn.Module):
    """Tells from an image's embedding by how many quarter turns the image was turned.

    The head is that of SSAL (Wang et al., "Self-supervised adversarial learning for cross-modal retrieval", ACM MM Asia
    2020); its size and the four angles are a choice.

    Args:
        dim: Size D of the common space.
        hidden: Sizes of the hidden layers, ReLU after each; none makes a linear classifier.
        angles: Number R of angles, at least 2; 4 for quarter turns.
    """

    def __init__(self, dim: Width, hidden: Sequence[Width] = (50,), angles: Annotated[Count, Ge(2)] = 4) -> None:
        super().__init__()
        self.angles = angles
        self.layers = perceptron(dim, hidden, angles)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Compute logits `(..., R)` of embeddings `(..., D)`; `rotation_loss` takes those of `(N, R, D)`."""
        return self.layers(embeddings)


def perceptron(dim: int, hidden: Sequence[int], outputs: int, dropout: float = 0.0) -> nn.Sequential:
    """Build linear layers of sizes `dim`, `hidden`, `outputs` with ReLU and then dropout between them."""
    layers: list[nn.Module] = []
    for size_in, size_out in pairwise([dim, *hidden]):
        layers += [nn.Linear(size_in, size_out), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear([dim, *hidden][-1], outputs))
