"""Penalties."""

from collections.abc import Callable

import torch
from torch import Tensor


def zero_centred_penalty(discriminate: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """R1."""
    points = points.detach().float().requires_grad_()
    return torch.autograd.grad(discriminate(points).sum(), points, create_graph=True)[0].square().sum(1).mean()


def unit_slope_penalty(discriminate: Callable, images: Tensor, texts: Tensor, classes: tuple | None = None) -> Tensor:
    """WGAN-GP."""
    a = torch.rand(len(images), 1, device=images.device)
    x = (a * images + (1 - a) * texts).detach().requires_grad_()
    g = torch.autograd.grad(discriminate(x, None if classes is None else classes[0]).sum(), x, create_graph=True)[0]
    return ((g.square().sum(1) + 1e-12).sqrt() - 1).square().mean()
