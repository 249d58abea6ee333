"""In which precision a loss is computed."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Computes `loss` in float32 at least: half-precision arguments are widened, autocast is off inside.

    Without the second half, autocast would take the matrix products of a float32 input back to half precision, where
    a squared entry of 256 already overflows float16. Gradients come back in the type of the arguments.
    """

    @wraps(loss)
    def widened(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        given = (*args, *kwargs.values())
        device = next(value.device.type for value in given if isinstance(value, Tensor))
        with torch.autocast(device, enabled=False):
            return loss(*map(_widen, args), **{name: _widen(value) for name, value in kwargs.items()})  # type: ignore[arg-type]

    return widened


def _widen(value: T) -> T | Tensor:
    """A half-precision tensor as float32, anything else as it is."""
    if isinstance(value, Tensor) and value.dtype in (torch.float16, torch.bfloat16):
        return value.float()
    return value
