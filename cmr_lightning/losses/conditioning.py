"""Points joined with the classes of their items."""

import torch
from torch import Tensor

from cmr_lightning.losses.arithmetic import full_precision


@full_precision
def class_product(points: Tensor, classes: Tensor) -> Tensor:
    """Compute sqrt(C) vec(p x^T)."""
    return classes.shape[1] ** 0.5 * torch.einsum("nc,nd->ncd", classes, points).flatten(1)
