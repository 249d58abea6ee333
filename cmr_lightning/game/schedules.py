"""Learning-rate schedules that torch does not have as a class; those of `torch.optim.lr_scheduler` work as they are."""

from __future__ import annotations

import math
from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Learning rates rise in a line, then fall along half a cosine; for `model.schedule_every: update`.

    Args:
        optimizer: Whose rates.
        warmup: Steps until the full rate is reached.
        total: Steps until the lowest is.
        lowest: Lowest share of the rate, 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int, lowest: float = 0.0) -> None:
        super().__init__(optimizer, partial(_share, warmup=warmup, total=total, lowest=lowest))


def _share(step: int, warmup: int, total: int, lowest: float) -> float:
    """Share of the full rate at a step, counted from 0."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * done)) / 2
