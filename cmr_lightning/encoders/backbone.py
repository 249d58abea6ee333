"""What encoders with a pretrained part have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from cmr_lightning.errors import UserError


class BackboneEncoder(nn.Module):
    """A backbone that may be pretrained, frozen, or trained at its own rate, and a linear projection behind it.

    Args:
        backbone: From what the data set serves to feature vectors, or to what the subclass pools into them.
        features: Size of the feature vectors.
        dim: Size D of the common space.
        frozen: Whether the backbone stays as it is: it gets no gradients, and is in evaluation mode all the time, so
            that neither dropout nor BatchNorm statistics of the training move it.
        lr_scale: Learning rate of the backbone as a multiple of the optimizer's.

    Raises:
        UserError: If `lr_scale` is not positive.
    """

    def __init__(self, backbone: nn.Module, features: int, dim: int, frozen: bool, lr_scale: float) -> None:
        super().__init__()
        if lr_scale <= 0:
            raise UserError(f"backbone_lr_scale is {lr_scale} and must be positive; frozen: true stops a backbone.")
        self.backbone = backbone
        self.projection = nn.Linear(features, dim)
        self.frozen = frozen
        self.lr_scale = lr_scale
        if frozen:
            self.backbone.requires_grad_(False)
            self.backbone.eval()

    def train(self, mode: bool = True) -> BackboneEncoder:
        """Switch between training and evaluation; a frozen backbone stays in evaluation."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def lr_scales(self) -> dict[nn.Parameter, float]:
        """Trainable parameters with a learning rate of their own, as a multiple of the optimizer's."""
        return {parameter: self.lr_scale for parameter in self.backbone.parameters() if parameter.requires_grad}

    def recording(self) -> AbstractContextManager[object]:
        """Where the backbone runs: without a graph if it is frozen, which saves its memory."""
        return torch.no_grad() if self.frozen else nullcontext()
