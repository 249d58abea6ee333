"""The weights of terms that are to have a share of the generator's gradient, measured and then held."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cmr_lightning.errors import UserError

MEASURED = (0.05, 0.1)
"""Part of the training in which shares are measured: the discriminator already plays, the encoders are not yet moved
by the terms, whose weight is 0 until the end of it."""


class GradientBalance:
    """Finds weights by which terms get their shares of the norm of the generator's gradient.

    Equal weights of different terms compare nothing: for one share they lie as far apart as 0.1 for a modality
    classifier and 6e5 for CORAL on vectors of length 1. With a the mean norm of a term's gradient, b that of the
    method's own terms together, both at the embeddings, the weight for the share s is

        w = s / (1 - s) b / a

    Args:
        shares: Share of each term, above 0 and below 1.

    Attributes:
        weights: Weight of each term that has been measured.

    Examples:
        >>> balance = GradientBalance({"alignment": 0.2})
        >>> balance.add({"alignment": 0.5}, own=4.0)
        >>> balance.settle(balance.sums())
        >>> balance.weights
        {'alignment': 2.0}
    """

    def __init__(self, shares: Mapping[str, float]) -> None:
        self.shares = dict(shares)
        self.weights: dict[str, float] = {}
        self._norms: dict[str, tuple[float, float]] = {}

    def waiting(self, term: str) -> bool:
        """Tell whether a term is to have a share and has no weight yet."""
        return term in self.shares and term not in self.weights

    def weight(self, term: str) -> float:
        """Return the factor by which a term gets its share: 1 where it has none, 0 while that is measured."""
        return self.weights.get(term, 0.0) if term in self.shares else 1.0

    def add(self, norms: Mapping[str, float], own: float) -> None:
        """Count the norms of the terms' gradients and of that of the method's own terms, at one update."""
        for term, norm in norms.items():
            total = self._norms.get(term, (0.0, 0.0))
            self._norms[term] = total[0] + norm, total[1] + own

    def sums(self) -> Tensor:
        """Return the sums of both norms of each term that was measured, `(terms, 2)` float64."""
        return torch.tensor(list(self._norms.values()), dtype=torch.float64).view(-1, 2)

    def settle(self, sums: Tensor) -> None:
        """Fix the weights of all measured terms by the sums of their norms, `(terms, 2)`, of all processes.

        Raises:
            UserError: If a term has no gradient, so that no weight gives it a share.
        """
        for term, (norm, own) in zip(self._norms, sums.tolist(), strict=True):
            share = self.shares[term]
            weight = share / (1 - share) * own / norm if norm > 0 else float("inf")
            if not 0 < weight < float("inf"):
                raise UserError(
                    f"model.shares gives {term} the share {share} of the generator's gradient, but the norm of its "
                    f"gradient is {norm:g} beside {own:g} of the other terms; give it a weight in model.weights "
                    f"instead, or look for the reason: a discriminator that has not learned anything, for instance."
                )
            self.weights[term] = weight
        self._norms = {}

    def state_dict(self) -> dict[str, Any]:
        """Return weights and sums, for a checkpoint."""
        return {"weights": dict(self.weights), "norms": dict(self._norms)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from weights and sums of a checkpoint."""
        self.weights = dict(state.get("weights", {}))
        self._norms = {term: (norm, own) for term, (norm, own) in state.get("norms", {}).items()}


def gradient_norm(points: Sequence[Tensor], losses: Sequence[Tensor]) -> Tensor:
    """Compute the norm of the gradient of the sum of some losses at points that they were computed from, a scalar.

    Losses without a graph, and points of a frozen encoder, have no part in it.
    """
    parts = [loss for loss in losses if loss.requires_grad]
    moving = [point for point in points if point.requires_grad]
    if not parts or not moving:
        return points[0].new_zeros((), dtype=torch.float32)
    gradients = torch.autograd.grad(torch.stack(parts).sum(), moving, retain_graph=True, materialize_grads=True)
    return torch.stack([gradient.float().norm() for gradient in gradients]).norm()
