"""Tells by which angle an image was turned."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from cmr_lightning.discriminators.perceptron import perceptron


class RotationClassifier(nn.Module):
    """Tells from an image's embedding by how many quarter turns the image was turned.

    The head is that of SSAL (Wang et al., "Self-supervised adversarial learning for cross-modal retrieval", ACM MM Asia
    2020); its size and the four angles are a choice.

    Args:
        dim: Size D of the common space.
        hidden: Sizes of the hidden layers, ReLU after each; none makes a linear classifier.
        angles: Number R of angles, 4 for quarter turns.
    """

    def __init__(self, dim: int, hidden: Sequence[int] = (50,), angles: int = 4) -> None:
        super().__init__()
        self.layers = perceptron(dim, hidden, angles)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Logits `(..., R)` of embeddings `(..., D)`: `(N, R, D)` gives `(N, R, R)`, what `rotation_loss` takes."""
        return self.layers(embeddings)
