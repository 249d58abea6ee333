"""Learning rates: groups of parameters, schedules that torch lacks, and when each schedule is stepped."""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau


class WarmupCosine(LambdaLR):
    """Learning rates that rise linearly, then fall along half a cosine; for `model.schedule_every: update`.

    Args:
        optimizer: The optimizer whose rates follow the schedule.
        warmup: Steps until the full rate is reached.
        total: Steps until the lowest rate is reached.
        lowest: Lowest share of the rate, 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, warmup: int, total: int, lowest: float = 0.0) -> None:
        super().__init__(optimizer, partial(warmup_cosine, warmup=warmup, total=total, lowest=lowest))


def warmup_cosine(step: int, warmup: int, total: int, lowest: float) -> float:
    """Compute the share of the full learning rate at a step, counted from 0.

    Examples:
        >>> [round(warmup_cosine(step, warmup=2, total=6, lowest=0.0), 3) for step in range(7)]
        [0.5, 1.0, 1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return lowest + (1 - lowest) * (1 + math.cos(math.pi * done)) / 2


def parameter_groups(parameters: Iterable[nn.Parameter], scales: Mapping[nn.Parameter, float]) -> list[dict[str, Any]]:
    """Group parameters by their multiple of the configured learning rate, which each group keeps as `lr_scale`."""
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in parameters:
        groups.setdefault(scales.get(parameter, 1.0), []).append(parameter)
    return [{"params": members, "lr_scale": scale} for scale, members in groups.items()]


def step_schedules(trainer: pl.Trainer) -> None:
    """Step the schedules that do not wait for a plateau."""
    for config in trainer.lr_scheduler_configs:
        if not isinstance(config.scheduler, ReduceLROnPlateau):
            config.scheduler.step()


def plateaus(trainer: pl.Trainer) -> list[ReduceLROnPlateau]:
    """Select the schedules that wait for a plateau."""
    schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [schedule for schedule in schedules if isinstance(schedule, ReduceLROnPlateau)]
