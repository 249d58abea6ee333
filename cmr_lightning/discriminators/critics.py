"""Critics: networks that score what belongs together, for the estimators of mutual information.

They are no adversaries, unlike the classifiers beside them: encoders and critic minimise the same term. Both forms are
those of Deep InfoMax (Hjelm et al., "Learning deep representations by mutual information estimation and maximization",
ICLR 2019, arXiv 1808.06670), which calls them concat-and-convolve and encode-and-dot-product.

A critic is made from the sizes A and B of what it scores. It takes vectors x `(N, A)`, and y, either vectors `(N, B)`
or feature maps `(N, B, H, W)`, and gives the scores of all pairs, `(N, N)` or with each location `(N, N, H W)`. A 1x1
convolution is a linear layer applied at each location, so one network serves vectors and maps alike.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmr_lightning.discriminators.classifiers import perceptron
from cmr_lightning.ranges import Checked, Width

Critic = Callable[[int, int], nn.Module]
"""A class or function that makes a critic from the sizes A and B."""


class ConcatCritic(Checked, nn.Module):
    """A perceptron with two hidden layers on the concatenation, u_ij = T([x_i; y_j]).

    The first layer is linear in x and y, so it is applied to each of them once and not to all their pairs; the second
    one costs N² L `hidden`² operations.

    Args:
        hidden: Units of both hidden layers, ReLU after each; 512 is Deep InfoMax's.

    Examples:
        >>> critic = ConcatCritic(x_dim=4, y_dim=3, hidden=16)
        >>> critic(torch.ones(5, 4), torch.ones(5, 3)).shape
        torch.Size([5, 5])
        >>> critic(torch.ones(5, 4), torch.ones(5, 3, 2, 7)).shape
        torch.Size([5, 5, 14])
    """

    def __init__(self, x_dim: int, y_dim: int, hidden: Width = 512) -> None:
        super().__init__()
        self.of_x = nn.Linear(x_dim, hidden)
        self.of_y = nn.Linear(y_dim, hidden, bias=False)
        self.of_both = nn.Sequential(nn.ReLU(), perceptron(hidden, [hidden], 1))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score vectors x with vectors y, `(N, N)`, or with the locations of maps y, `(N, N, H W)`."""
        first = self.of_x(x)[:, None, None] + self.of_y(_locations(y))[None]
        return _as_given(self.of_both(first).squeeze(-1), y)


class DotProductCritic(Checked, nn.Module):
    """A product of the codes of both sides, u_ij = ⟨f(x_i), g(y_j)⟩ / √units.

    Deep InfoMax does not divide by the root; it keeps the scores of a new critic of order 1 for any number of units, so
    that half precision holds them.

    Args:
        units: Size of the space that both are encoded into; 2048 is Deep InfoMax's, where it is at least A and B.
        layer_norm: Normalise the codes; otherwise scores can grow without bound, and the terms with them.
    """

    def __init__(self, x_dim: int, y_dim: int, units: Width = 2048, layer_norm: bool = True) -> None:
        super().__init__()
        self.units = units
        self.of_x = ShortcutEncoder(x_dim, units, layer_norm)
        self.of_y = ShortcutEncoder(y_dim, units, layer_norm)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Score vectors x with vectors y, `(N, N)`, or with the locations of maps y, `(N, N, H W)`."""
        locations = _locations(y)
        encoded = self.of_y(locations.flatten(0, 1)).unflatten(0, locations.shape[:2])
        scores = torch.einsum("iu,jlu->ijl", self.of_x(x) / self.units**0.5, encoded)
        return _as_given(scores, y)


class ShortcutEncoder(Checked, nn.Module):
    """Two linear layers with batch normalisation and ReLU between them, beside a linear shortcut, then normalised.

    Deep InfoMax's block for vectors (its MIFC) and, applied at each location, for feature maps. The shortcut starts as
    a noisy identity where the units are enough for one.

    Args:
        dim: Size D of the input.
        units: Size U of the output.
        layer_norm: Normalise the output over its units.
    """

    def __init__(self, dim: Width, units: Width, layer_norm: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dim, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(), nn.Linear(units, units)
        )
        self.shortcut = nn.Linear(dim, units, bias=False)
        self.norm = nn.LayerNorm(units) if layer_norm else nn.Identity()
        if units >= dim:
            nn.init.uniform_(self.shortcut.weight, -0.01, 0.01)
            with torch.no_grad():
                self.shortcut.weight.fill_diagonal_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        """Encode vectors `(N, D)` as codes `(N, U)`."""
        return self.norm(self.layers(x) + self.shortcut(x))


def _locations(y: Tensor) -> Tensor:
    """Reshape vectors `(N, B)` to `(N, 1, B)`, feature maps `(N, B, H, W)` to `(N, H W, B)`."""
    return y[:, None] if y.ndim == 2 else y.flatten(2).transpose(1, 2)


def _as_given(scores: Tensor, y: Tensor) -> Tensor:
    """Drop L of scores `(N, N, L)` where y has no locations."""
    return scores.squeeze(2) if y.ndim == 2 else scores
