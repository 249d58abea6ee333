"""What a discriminator sees that is told the class of each point: points multiplied with classes.

Long, Cao, Wang, Jordan, "Conditional Adversarial Domain Adaptation" (CDAN), NeurIPS 2018.
"""

import torch
from torch import Tensor

from cmr_lightning.losses.arithmetic import full_precision


@full_precision
def class_product(points: Tensor, classes: Tensor) -> Tensor:
    """Multiply points e `(N, D)` with distributions p over classes `(N, C)`: √C vec(p eᵀ), `(N, C D)`.

    Column c D + d is √C p_c e_d: each class has a block of its own, that of a one-hot p is √C e. The classes get no
    gradient. √C is a choice: ||vec(p eᵀ)|| = ||p|| ||e||, so that a flat p, of length 1/√C, would hide e from a new
    discriminator.

    Examples:
        >>> class_product(torch.tensor([[2.0, 3.0]]), torch.tensor([[0, 1, 0, 0]]))
        tensor([[0., 0., 4., 6., 0., 0., 0., 0.]])
    """
    classes = classes.detach().to(points)
    return classes.shape[1] ** 0.5 * (classes[:, :, None] * points[:, None, :]).flatten(1)


@full_precision
def entropy_weights(classes: Tensor) -> Tensor:
    """Weigh items by how sure their classes are: 1 + exp(-H(p_i)), `(N,)`, detached and of mean 1.

    H is in nats. Give it the classes `(N, C)` of images and texts together, as the mean is taken over all of them. Rows
    of zeros, items of unknown class, have the weight 0 and do not count in the mean.

    Source: CDAN and its code.

    Examples:
        >>> entropy_weights(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        tensor([1., 1., 0.])
    """
    classes = classes.detach()
    known = classes.sum(1) > 0
    weights = (1 + torch.exp(-torch.special.entr(classes).sum(1))).masked_fill(~known, 0)
    return weights * known.sum() / weights.sum().clamp_min(1)
