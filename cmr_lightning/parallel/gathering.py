"""Rows of all processes in one tensor; tensors of several types travel in one collective call."""

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
    """Gather the rows of every process's batch with gradients, in the order in which one process would have them.

    Row i of process r of W becomes row i W + r, the inverse of how `PairLoader` distributes rows. Every process is
    expected to compute the same losses from all rows, and then to average the gradients of its parameters over the
    processes. The backward pass therefore gives each process the gradient of its own rows times W, without
    communication: the average of these parts is the gradient of the encoders, and the average of W equal gradients is
    that of parameters in the losses.

    Args:
        tensors: Tensors `(N, ...)`, `N` the same in all processes; of any type.

    Returns:
        The tensors `(W N, ...)`.
    """
    gathered: dict[int, Tensor] = {}
    for rows in dict.fromkeys(map(len, tensors)):  # those of as many rows travel together
        places = [place for place, tensor in enumerate(tensors) if len(tensor) == rows]
        gathered |= zip(places, _GatherBatch.apply(*(tensors[place] for place in places)), strict=True)
    return tuple(gathered[place] for place in range(len(tensors)))


def gather_rows(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gather the rows of the first process, then those of the second, and so on, without gradients.

    Args:
        tensors: Tensors `(N, ...)` of any type; `N` may differ between processes.
    """
    rows = _pack(tensors)
    counts = _gathered(torch.tensor([[len(rows)]], device=rows.device)).flatten().tolist()
    padded = rows.new_zeros(max(counts), rows.shape[1])
    padded[: len(rows)] = rows
    parts = _gathered(padded)
    together = torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
    return tuple(_unpack(together, tensors))


def gather_objects(own: T) -> list[T]:
    """Gather one small object of each process; a single process returns a list of its own.

    Examples:
        >>> gather_objects({"rank": 0})
        [{'rank': 0}]
    """
    if not dist.is_initialized():
        return [own]
    objects: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(objects, own)
    return objects


class Processes:
    """Splits the queries of an evaluation between the processes, which exchange tensors on `device`."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def share(self, queries: int) -> slice:
        """Return this process's share of the queries; the shares follow on one another and are equal to within one."""
        rank, world_size = dist.get_rank(), dist.get_world_size()
        return slice(queries * rank // world_size, queries * (rank + 1) // world_size)

    def together(self, arrays: Sequence[NDArray]) -> list[NDArray]:
        """Concatenate arrays `(n,)` over the processes, in their order."""
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
    """Gather a tensor of the same shape from each process, `(W, ...)`."""
    together = rows.new_empty(dist.get_world_size(), *rows.shape)
    dist.all_gather(list(together.unbind()), rows.contiguous())
    return together


def _pack(tensors: Sequence[Tensor]) -> Tensor:
    """Join the bytes of tensors with N rows, `(N, bytes)` uint8, so that one call carries numbers of all types."""
    return torch.cat([t.detach().reshape(len(t), _width(t)).contiguous().view(torch.uint8) for t in tensors], dim=1)


def _unpack(rows: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    """Invert `_pack`, for any number of rows."""
    ends = accumulate((_width(t) * t.element_size() for t in like), initial=0)
    return [
        rows[:, start:end].contiguous().view(t.dtype).reshape(len(rows), *t.shape[1:])
        for t, (start, end) in zip(like, pairwise(ends), strict=True)
    ]


def _width(tensor: Tensor) -> int:
    return math.prod(tensor.shape[1:])
