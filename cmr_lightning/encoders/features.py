"""Encoder of feature vectors."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from cmr_lightning.batch import Features, Input
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked, Probability, Width

_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class FeatureMLP(Checked, nn.Module):
    """Multi-layer perceptron from feature vectors to the common space.

    Args:
        source: Form of the input; must be feature vectors.
        dim: Size D of the common space.
        hidden: Sizes of the hidden layers.
        activation: Function after each hidden layer.
        output_activation: Function after the last layer; `tanh` in ACMR and its descendants.
        input_norm: Normalisation of the features: `standardize` to mean 0 and variance 1 per dimension by running
            statistics of the training data, `l2` to unit length per item, or `none`.
        dropout: Probability of dropping a hidden unit.

    Raises:
        UserError: If the data set serves something else than feature vectors.

    Examples:
        >>> import torch
        >>> FeatureMLP(Features(12), dim=3, hidden=[7])(torch.ones(4, 12)).shape
        torch.Size([4, 3])
    """

    def __init__(
        self,
        source: Input,
        dim: Width,
        hidden: Sequence[Width] = (512,),
        activation: Literal["relu", "tanh", "gelu"] = "relu",
        output_activation: Literal["none", "tanh"] = "none",
        input_norm: Literal["none", "standardize", "l2"] = "none",
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(source, Features):
            raise UserError(f"FeatureMLP encodes feature vectors, but the data set serves {source}.")
        self.unit_length = input_norm == "l2"
        layers: list[nn.Module] = []
        if input_norm == "standardize":
            layers.append(nn.BatchNorm1d(source.size, affine=False))
        sizes = [source.size, *hidden]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), _ACTIVATIONS[activation]()]
            if dropout:
                layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(sizes[-1], dim))
        if output_activation == "tanh":
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Encode feature vectors `(N, F)` as embeddings `(N, D)`."""
        if self.unit_length:
            features = F.normalize(features, dim=1)
        return self.layers(features)
