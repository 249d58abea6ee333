"""Learning rates: groups of parameters, schedules that torch lacks, and when each schedule is stepped."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from pydantic import TypeAdapter
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import (
    Checked,
    Count,
    CountFromZero,
    Finite,
    LearningRate,
    Positive,
    Probability,
    UnitInterval,
    refusal,
)

_OPTIONS = {
    "lr": TypeAdapter(LearningRate),
    "eps": TypeAdapter(Positive),
    "momentum": TypeAdapter(Probability),
    "dampening": TypeAdapter(UnitInterval),
}
_ANY = TypeAdapter(Finite)


class WarmupCosine(Checked, LambdaLR):
    """Learning rates that rise linearly, then fall along half a cosine; for `model.schedule_every: update`.

    Args:
        optimizer: The optimizer whose rates follow the schedule.
        warmup: Steps until the full rate is reached.
        total: Steps until the lowest rate is reached.
        lowest: Lowest share of the rate, 0 to 1.
    """

    def __init__(self, optimizer: Optimizer, warmup: CountFromZero, total: Count, lowest: UnitInterval = 0.0) -> None:
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


@contextmanager
def made_from(key: str) -> Iterator[None]:
    """Turn what optimizers and schedules say of their arguments inside the context into a `UserError` that names `key`.

    Examples:
        >>> with made_from("model.schedule"):
        ...     1 / 0
        Traceback (most recent call last):
        cmr_lightning.errors.UserError: model.schedule cannot be used as it is set: division by zero.
    """
    try:
        yield
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{key} cannot be used as it is set: {error}.") from error


def check_options(optimizer: Optimizer, key: str) -> None:
    """Refuse numbers out of range, of which torch takes many: infinity, and rates of 0.

    Raises:
        UserError: If `optimizer`, whose settings are under `key`, has one.
    """
    for name, value in ((name, value) for group in optimizer.param_groups for name, value in group.items()):
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) in (int, float) and (reason := refusal(_OPTIONS.get(name, _ANY), number)):
                raise UserError(f"{key}.init_args.{name} is {value}, but {reason}.")


def check_rates(optimizer: Optimizer) -> None:
    """Raise UserError if a schedule has set a learning rate below 0, or one that is not finite."""
    for rate in (float(group["lr"]) for group in optimizer.param_groups):
        if not 0 <= rate < math.inf:
            raise UserError(f"model.schedule makes a learning rate of {rate:g}; change its init_args.")


def try_out(schedule: Callable[[Optimizer], LRScheduler | ReduceLROnPlateau], rate: float, steps: int) -> None:
    """Let a schedule take its first steps, from a learning rate, without a model.

    Raises:
        UserError: If it cannot, or makes learning rates by which nothing can be learned.
    """
    optimizer = SGD([nn.Parameter(torch.zeros(()))], lr=rate, momentum=0.9)  # some schedules change the momentum, too
    with made_from("model.schedule"):
        tried = schedule(optimizer)
        for name, value in vars(tried).items():
            if (isinstance(value, int) and value < 0) or value != value:
                raise UserError(f"model.schedule.init_args.{name} is {value}, but should be a number of 0 or more.")
        for _ in range(steps):
            optimizer.step()
            tried.step(0.0) if isinstance(tried, ReduceLROnPlateau) else tried.step()
            check_rates(optimizer)


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
            check_rates(config.scheduler.optimizer)


def plateaus(trainer: pl.Trainer) -> list[ReduceLROnPlateau]:
    """Select the schedules that wait for a plateau."""
    schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
    return [schedule for schedule in schedules if isinstance(schedule, ReduceLROnPlateau)]
