"""Arithmetic that the losses share: full precision, directions of embeddings, cosines."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")

SHORTEST = 1e-6
"""Embeddings shorter than this have no direction (choice; the clamp of the cosine's denominator in DSCMR's code)."""


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Compute `loss` in float32 at least: widen half-precision arguments and switch autocast off.

    Gradients come back in the type of the arguments.
    """

    @wraps(loss)
    def widened(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        given = (*args, *kwargs.values())
        device = next(value.device.type for value in given if isinstance(value, Tensor))
        # Autocast would take the matrix products of a float32 input back to half precision, where a squared entry of
        # 256 already overflows float16.
        with torch.autocast(device, enabled=False):
            return loss(*map(_widen, args), **{name: _widen(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return widened


def _widen(value: T) -> T | Tensor:
    """Turn a half-precision tensor into float32; return anything else unchanged."""
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value


def unit(embeddings: Tensor) -> Tensor:
    """Scale embeddings `(N, D)` to length 1; one shorter than `SHORTEST` becomes zero and gets no gradient.

    Examples:
        >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    length = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
    # Dividing by a clamped length would give a gradient of 1 / SHORTEST, which half precision cannot hold.
    return embeddings / length.masked_fill(length < SHORTEST, torch.inf)


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Compare each row of `first` `(N, D)` with each of `second` `(M, D)`: cosines `(N, M)`, 0 for a zero vector."""
    return unit(first) @ unit(second).T


def squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Compare each row of `first` `(N, D)` with each of `second` `(M, D)` by ||a - b||², `(N, M)`.

    By a matrix product, which is some thirty times quicker than differences for many long rows. It is exact to rounding
    relative to the spread of all rows: a distance that is 0 may come out as a tiny number of either sign.

    Examples:
        >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 0.0]]), torch.tensor([[3.0, 3.0]]))
        tensor([[18.],
                [ 9.]])
    """
    # Around their common centre little cancels, also where all rows lie far from the origin.
    centre = torch.cat([first, second]).mean(0).detach()
    first, second = first - centre, second - centre
    return first.square().sum(1)[:, None] + second.square().sum(1) - 2 * first @ second.T
