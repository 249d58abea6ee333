"""Tells images from texts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cmr_lightning.discriminators.perceptron import perceptron


class ModalityClassifier(nn.Module):
    """Tells by one logit whether an embedding comes from an image (positive) or a text (negative).

    One hidden layer of 50 units is ACMR's (Wang et al., "Adversarial Cross-Modal Retrieval", ACM MM 2017); one logit in
    place of a two-way softmax is the same model with fewer parameters.

    Args:
        dim: Size D of the common space.
        hidden: Sizes of the hidden layers, ReLU after each; none makes a linear classifier.
        dropout: Probability in 0..1 that a hidden unit is dropped in training: keeps the classifier weak.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (50,), dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = perceptron(dim, hidden, 1, dropout)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits `(N,)` of embeddings `(N, D)`."""
        return self.layers(embeddings).squeeze(-1)
