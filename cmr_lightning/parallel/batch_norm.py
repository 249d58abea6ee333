"""Batch normalisation by the statistics of the batches of all processes together."""

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
    """Replaces batch normalisation layers by torch's and timm's synchronised ones on GPUs, elsewhere by our own.

    The parts of the model in `complete` receive the rows of all processes anyway, and are left as they are.
    """

    def __init__(self, device: torch.device, complete: Iterable[nn.Module] = ()) -> None:
        self.convert = convert_sync_batchnorm if device.type == "cuda" else _on_cpu
        self.complete = list(complete)

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace the layers; their parameters and statistics keep values and names."""
        for name, child in model.named_children():
            if all(child is not part for part in self.complete):
                setattr(model, name, self.convert(child))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Leave the model as it is; outside of training both kinds compute the same."""
        return model


def _on_cpu(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) in _PLAIN:
        return CPUSyncBatchNorm.of(module)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        rank_zero_warn(f"Each process normalises by its own batch in a {type(module).__name__}.")
    for name, child in module.named_children():
        setattr(module, name, _on_cpu(child))
    return module


class CPUSyncBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Normalises over the batches of all processes on any device; torch's own layer needs a GPU."""

    @classmethod
    def of(cls, module: nn.modules.batchnorm._BatchNorm) -> CPUSyncBatchNorm:
        """Make a layer with the parameters and statistics of another one.

        Examples:
            >>> CPUSyncBatchNorm.of(nn.BatchNorm1d(5)).weight.shape
            torch.Size([5])
        """
        synced = cls(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
        synced._parameters, synced._buffers = module._parameters, module._buffers
        synced.training = module.training
        return synced

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise rows `(N, C, ...)`."""
        if not self.training:
            return super().forward(input)
        return self._normalised(input.to(torch.promote_types(input.dtype, torch.float32))).to(input.dtype)

    def _normalised(self, input: Tensor) -> Tensor:
        dims = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        count = all_reduce(input.new_tensor(input.numel() / input.shape[1]))  # differentiable, like all these sums
        mean = all_reduce(input.sum(dims)) / count
        centred = input - mean.view(shape)
        # The second pass over the data avoids the cancellation of E[x^2] - E[x]^2.
        variance = all_reduce(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self._update_statistics(mean.detach(), variance.detach() * count / (count - 1))
        normalised = centred * (variance + self.eps).rsqrt().view(shape)
        return normalised * self.weight.view(shape) + self.bias.view(shape) if self.affine else normalised

    def _update_statistics(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return  # the layer has none
        self.num_batches_tracked.add_(1)
        step = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, step)
        self.running_var.lerp_(variance, step)
