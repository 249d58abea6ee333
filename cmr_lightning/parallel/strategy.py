"""Data parallelism for two players who take turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor
from torch import distributed as dist
from torch.optim import Optimizer

from cmr_lightning.parallel.batch_norm import SyncBatchNorm
from cmr_lightning.parallel.launcher import GroupLauncher

_BUCKET = 2**23
"""Most numbers that are averaged at once (32 MB in float32), unless one gradient alone has more."""


class TwoPlayerDDP(DDPStrategy):
    """One process per device, each with its share of the batch; gradients are averaged just before a player's step.

    torch's DistributedDataParallel averages while it goes back through the graph, and so expects one backward pass to
    an update, which reaches every parameter. Here the players have a pass of their own each, the discriminator perhaps
    several, frozen parts and terms of weight 0 leave parameters out, and methods in closed form have none: what has a
    gradient when its player steps is averaged then, in a few large pieces, and nothing is searched for. Batches that
    are accumulated cost no communication before the last. The price is that communication does not overlap with the
    backward pass.

    Importing this module makes it the strategy of the names `ddp`, `ddp_spawn`, `ddp_fork` and `ddp_notebook`, and of
    `auto` where there are several devices.
    """

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if self._start_method == "popen":
            assert self.cluster_environment is not None
            self._launcher = GroupLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def configure_ddp(self) -> None:
        """Start all processes from the weights of the first, in place of wrapping the model."""
        assert self.model is not None
        for tensor in self.model.state_dict().values():
            dist.broadcast(tensor, src=0)

    def setup(self, trainer: Any) -> None:
        """Let batch normalisation see the batch of all processes, whether or not the trainer was told to."""
        complete = trainer.lightning_module.after_gathering()
        self._layer_sync = SyncBatchNorm(self.root_device, complete) if self.world_size > 1 else None
        super().setup(trainer)

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """Average the gradients after `closure`, before they are un-scaled, clipped and used."""

        def averaged() -> Any:
            result = closure()
            average_gradients(p for group in optimizer.param_groups for p in group["params"])
            return result

        return super().optimizer_step(optimizer, averaged, model, **kwargs)


for _name, _start_method in {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}.items():
    StrategyRegistry.register(_name, TwoPlayerDDP, TwoPlayerDDP.__doc__, override=True, start_method=_start_method)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes; those that have none must be the same in all of them."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        means = flat.split([gradient.numel() for gradient in bucket])
        for gradient, mean in zip(bucket, means, strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(gradients: list[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one type, up to `_BUCKET` numbers together."""
    bucket: list[Tensor] = []
    for gradient in gradients:
        size = sum(g.numel() for g in bucket) + gradient.numel()
        if bucket and (gradient.dtype != bucket[0].dtype or size > _BUCKET):
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
