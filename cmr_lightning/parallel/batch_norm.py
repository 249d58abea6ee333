"""Batch normalisation by the statistics of the batch that all processes have together."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from pytorch_lightning.plugins.layer_sync import LayerSync
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from timm.layers import convert_sync_batchnorm
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce

_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncBatchNorm(LayerSync):
    """Replaces batch normalisations: by torch's and timm's own on GPUs, by `CPUSyncBatchNorm` elsewhere.

    Args:
        device: Where the model runs.
        complete: Parts of the model that are given the rows of all processes anyway, and stay as they are.
    """

    def __init__(self, device: torch.device, complete: Iterable[nn.Module] = ()) -> None:
        self.convert = convert_sync_batchnorm if device.type == "cuda" else _on_cpu
        self.complete = list(complete)

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace; parameters, statistics and their names stay."""
        for name, child in model.named_children():
            if all(child is not part for part in self.complete):
                setattr(model, name, self.convert(child))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave the model as it is: outside of training both kinds do the same."""
        return model


def _on_cpu(module: nn.Module) -> nn.Module:
    if type(module) in _PLAIN:
        return CPUSyncBatchNorm.of(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        rank_zero_warn(f"Each process normalises by its own batch in a {type(module).__name__}.")
    for name, child in module.named_children():
        setattr(module, name, _on_cpu(child))
    return module


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over all processes on any device; torch's own wants a GPU.

    Mean and variance are sums over all processes with gradients, in two passes, so that nothing cancels.
    """

    @classmethod
    def of(cls, module: nn.Module) -> CPUSyncBatchNorm:
        """One with the parameters and statistics of another batch normalisation."""
        assert isinstance(module, nn.modules.batchnorm._BatchNorm)
        synced = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
        synced._parameters, synced._buffers = module._parameters, module._buffers
        synced.training = module.training
        return synced

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of dimensions will do."""

    def forward(self, input: Tensor) -> Tensor:
        """Rows `(N, C, ...)` to rows of the same shape."""
        if not self.training:
            return super().forward(input)
        return self._normalised(input.to(torch.promote_types(input.dtype, torch.float32))).to(input.dtype)

    def _normalised(self, input: Tensor) -> Tensor:
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        count = all_reduce(input.new_tensor(input.numel() / input.shape[1]))
        mean = all_reduce(input.sum(dims)) / count
        centred = input - mean.view(shape)
        variance = all_reduce(centred.square().sum(dims)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normalised = normalised * self.weight.view(shape) + self.bias.view(shape)
        return normalised

    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        step = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, step)
        self.running_var.lerp_(variance, step)
