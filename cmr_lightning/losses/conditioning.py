"""What a discriminator sees that is told the class of each point: points multiplied with classes.

Long, Cao, Wang, Jordan, "Conditional Adversarial Domain Adaptation" (CDAN), NeurIPS 2018.
"""

from torch import Tensor

from cmr_lightning.losses.arithmetic import full_precision


@full_precision
def class_product(points: Tensor, classes: Tensor) -> Tensor:
    """Multiply points e `(N, D)` with distributions p over classes `(N, C)`: √C vec(p eᵀ), `(N, C D)`.

    Column c D + d is √C p_c e_d: each class has a block of its own, that of a one-hot p is √C e. The classes get no
    gradient. √C is a choice: ||vec(p eᵀ)|| = ||p|| ||e||, so that a flat p, of length 1/√C, would hide e from a new
    discriminator.

    Examples:
        >>> import torch
        >>> class_product(torch.tensor([[2.0, 3.0]]), torch.tensor([[0, 1, 0, 0]]))
        tensor([[0., 0., 4., 6., 0., 0., 0., 0.]])
    """
    classes = classes.detach().to(points)
    return classes.shape[1] ** 0.5 * (classes[:, :, None] * points[:, None, :]).flatten(1)
