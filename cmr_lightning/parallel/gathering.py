"""Rows of all processes put together, each time in one collective call, whatever their types are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch import distributed as dist

T = TypeVar("T")


def gather_batch(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The rows of every process's batch, in the order in which one process would have had them, with gradients.

    Row i of process r becomes row i W + r of W processes, which undoes how `PairLoader` deals rows out. Every process
    is then to compute the same losses of all the rows, and afterwards to average its parameters' gradients over the
    processes. So the backward pass hands each process the gradient of its own rows times W, without any communication:
    the average of W such parts is the gradient of the whole, and the average of W equal gradients, those of what the
    losses themselves learn, is each of them.

    Args:
        tensors: Tensors with `N` rows each, `N` the same in all processes; of any shape and type.

    Returns:
        The tensors with `W N` rows.
    """
    return _GatherBatch.apply(*tensors)


def gather_rows(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The rows of the first process, then those of the second, and so on, without gradients.

    Args:
        tensors: Tensors with the same number of rows, which may differ from process to process; of any shape and type,
            but the same in all processes.

    Returns:
        The tensors with the rows of all processes.
    """
    rows = _pack(tensors)
    counts = _gathered(torch.tensor([[len(rows)]], device=rows.device)).flatten().tolist()
    padded = rows.new_zeros(max(counts), rows.shape[1])
    padded[: len(rows)] = rows
    parts = _gathered(padded)
    together = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
    return tuple(_unpack(together, tensors))


def gather_objects(own: T) -> list[T]:
    """What each process has, small and seldom asked for; in one process a list of one."""
    if not dist.is_initialized():
        return [own]
    everybody: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everybody, own)
    return everybody


class Processes:
    """The processes of a training as a team that ranks together.

    Args:
        device: Where this process may talk to the others.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def share(self, queries: int) -> slice:
        """An equal part of so many queries; the parts of the processes follow on one another."""
        rank, world_size = dist.get_rank(), dist.get_world_size()
        return slice(queries * rank // world_size, queries * (rank + 1) // world_size)

    def together(self, arrays: Sequence[NDArray]) -> list[NDArray]:
        """Arrays of one length `(n,)`, those of the first process before those of the second, and so on."""
        gathered = gather_rows([torch.from_numpy(array).to(self.device) for array in arrays])
        return [tensor.cpu().numpy() for tensor in gathered]


class _GatherBatch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        together = _gathered(_pack(tensors)).transpose(0, 1).flatten(0, 1)
        return tuple(_unpack(together, tensors))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        rank, world_size = dist.get_rank(), dist.get_world_size()
        return tuple(
            world_size * gradient[rank::world_size] if needed else None
            for gradient, needed in zip(gradients, ctx.needs_input_grad, strict=True)
        )


def _gathered(rows: Tensor) -> Tensor:
    """What each process has, `(W, ...)`; it must have the same shape in all processes."""
    together = rows.new_empty(dist.get_world_size(), *rows.shape)
    dist.all_gather(list(together.unbind()), rows.contiguous())
    return together


def _pack(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors with N rows as the bytes of one, `(N, bytes)` uint8: so one call carries numbers of all types."""
    return torch.cat([t.detach().reshape(len(t), _width(t)).contiguous().view(torch.uint8) for t in tensors], dim=1)


def _unpack(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """The inverse of `_pack`, for any number of rows."""
    ends = accumulate((_width(t) * t.element_size() for t in like), initial=0)
    return [
        rows[:, start:end].contiguous().view(t.dtype).reshape(len(rows), *t.shape[1:])
        for t, (start, end) in zip(like, pairwise(ends), strict=True)
    ]


def _width(tensor: Tensor) -> int:
    """Numbers in a row."""
    return math.prod(tensor.shape[1:])
