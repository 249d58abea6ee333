"""The common part of encoders with a pretrained backbone."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Self, cast

import torch
from timm.models import group_parameters
from torch import nn

from cmr_lightning.ranges import Checked, Positive, PositiveShare, Width

_BLOCK = re.compile(r"(?:^|\.)(?:layer|layers|block|h)\.(\d+)\.")
"""How transformers names the parameters of block N."""


class BackboneEncoder(Checked, nn.Module):
    """A backbone that may be pretrained, frozen, or trained at its own rate, and a linear projection behind it.

    Args:
        backbone: From what the data set serves to feature vectors, or to what the subclass pools into them.
        features: Size of the feature vectors.
        dim: Size D of the common space.
        frozen: Keep the backbone as it is: it gets no gradients, and is always in evaluation mode, so that neither
            dropout nor the BatchNorm statistics of the training change its output.
        lr_scale: Learning rate of the backbone as a multiple of the optimizer's.
        layer_decay: Learning rate of each layer of the backbone as a multiple of that of the layer after it.
    """

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        dim: Width,
        frozen: bool,
        lr_scale: Positive,
        layer_decay: PositiveShare = 1.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projection = nn.Linear(features, dim)
        self.frozen = frozen
        self.lr_scale = lr_scale
        self.layer_decay = layer_decay
        if frozen:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def lr_scales(self) -> dict[nn.Parameter, float]:
        """List the trainable parameters of the backbone with their learning rates as multiples of the optimizer's."""
        trainable = {name: parameter for name, parameter in self.backbone.named_parameters() if parameter.requires_grad}
        if self.layer_decay == 1:
            return dict.fromkeys(trainable.values(), self.lr_scale)
        layers = layers_of(self.backbone)
        top = max(layers.values())
        return {p: self.lr_scale * self.layer_decay ** (top - layers[name]) for name, p in trainable.items()}

    def recording(self) -> AbstractContextManager[object]:
        """Make the context in which the backbone runs: without a graph if it is frozen, which saves memory."""
        return torch.no_grad() if self.frozen else nullcontext()


def layers_of(backbone: nn.Module) -> dict[str, int]:
    """Count the layer of each parameter from the input: as timm groups them, or by transformers' names."""
    if hasattr(backbone, "group_matcher"):
        group_matcher = cast(Callable[..., dict[str, Any]], backbone.group_matcher)
        return group_parameters(backbone, group_matcher(coarse=False), reverse=True)
    found = {name: _BLOCK.search(name) for name, _ in backbone.named_parameters()}
    layers = {name: 1 + int(block[1]) for name, block in found.items() if block}
    top = max(layers.values(), default=0)
    return {name: layers.get(name, 0 if "embed" in name else top) for name in found}
