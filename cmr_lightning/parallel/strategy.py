"""Data parallelism for two players that take turns."""

from collections.abc import Callable, Iterable
from typing import Any

from pytorch_lightning.overrides.distributed import _sync_module_states
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import Tensor
from torch import distributed as dist
from torch._utils import _flatten_dense_tensors, _take_tensors, _unflatten_dense_tensors
from torch.optim import Optimizer

from cmr_lightning.parallel.batch_norm import SyncBatchNorm
from cmr_lightning.parallel.launcher import GroupLauncher

_BUCKET_BYTES = 2**25  # of gradients that are averaged in one call


class TwoPlayerDDP(DDPStrategy):
    """Runs one process per device with a share of the batch each, and averages gradients just before a player's step.

    torch's DistributedDataParallel averages during the backward pass, and therefore expects one pass per update that
    reaches every parameter. Here each player has a pass of its own, the discriminator perhaps several, frozen parts and
    terms of weight 0 leave parameters out, and closed forms have no pass at all. So whatever has a gradient when its
    player steps is averaged then, in a few large pieces, which do not overlap with the backward pass.

    Importing this module registers it under the names `ddp`, `ddp_spawn`, `ddp_fork` and `ddp_notebook`, and so for
    `auto` where there are several devices.
    """

    def _configure_launcher(self) -> None:
        super()._configure_launcher()
        if self._start_method == "popen" and self.cluster_environment is not None:
            self._launcher = GroupLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def configure_ddp(self) -> None:
        """Copy the weights of the first process to all others, instead of wrapping the model."""
        if self.model is not None:
            _sync_module_states(self.model)

    def setup(self, trainer: Any) -> None:
        """Synchronise batch normalisation even if `sync_batchnorm` is not set: all compute one batch's losses."""
        complete = trainer.lightning_module.after_gathering()
        self._layer_sync = SyncBatchNorm(self.root_device, complete) if self.world_size > 1 else None
        super().setup(trainer)

    def optimizer_step(self, optimizer: Optimizer, closure: Callable[[], Any], model: Any = None, **kwargs: Any) -> Any:
        """Average the gradients after `closure`, before they are unscaled, clipped and used."""

        def averaged() -> Any:
            result = closure()
            average_gradients(p for group in optimizer.param_groups for p in group["params"])
            return result

        return super().optimizer_step(optimizer, averaged, model, **kwargs)


for _name, _start_method in {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork", "ddp_notebook": "fork"}.items():
    StrategyRegistry.register(_name, TwoPlayerDDP, TwoPlayerDDP.__doc__, override=True, start_method=_start_method)


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace each gradient by its mean over the processes; the same parameters must have one in all of them."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _take_tensors(gradients, _BUCKET_BYTES):
        flat = _flatten_dense_tensors(bucket)
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, mean in zip(bucket, _unflatten_dense_tensors(flat, bucket), strict=True):
            gradient.copy_(mean)
