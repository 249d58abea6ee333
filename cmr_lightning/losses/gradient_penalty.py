"""Penalties on the slope of a discriminator, which keep its force on the encoders in bounds.

Each is a term that the discriminator minimises and the encoders do not: points are detached, and their gradient is
computed so that it can be differentiated once more by the discriminator's parameters.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cmr_lightning.losses.arithmetic import full_precision

SMALLEST_SQUARE = 1e-12
"""Added under the root of a slope, whose derivative would be infinite where all units rest and the slope is 0."""


@full_precision
def zero_centred_penalty(discriminate: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    """R1 without its factor gamma/2: mean_i ||∂z(x_i)/∂x_i||² >= 0.

    Source: Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do actually Converge?", ICML 2018.

    Args:
        discriminate: z, from points `(N, D)` to `(N,)`; z of a row depends on that row alone.
        points: Images or texts, `(N, D)`.
    """
    points = points.detach().requires_grad_()
    return _slopes(discriminate(points), points).square().sum(1).mean()


@full_precision
def unit_slope_penalty(
    discriminate: Callable[[Tensor, Tensor | None], Tensor],
    images: Tensor,
    texts: Tensor,
    classes: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """WGAN-GP without its factor 10: mean_i (||∂f(x_i)/∂x_i|| - 1)² >= 0.

    x_i = a_i v_i + (1 - a_i) t_j lies at random, a_i ~ U(0, 1), between an image and a text that is drawn for it with
    replacement, so that numbers may differ. With classes p the text is drawn within the image's class, in proportion to
    Σ_c p_ic p_jc, and the classes of x_i are a mixture as x_i is; images without a text of their class are left out.

    Source: Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", NeurIPS 2017; a
    text drawn for each image is a choice.

    Args:
        discriminate: f, from points `(N, D)` and their classes `(N, C)`, or None, to `(N,)`; f of a row depends on that
            row alone.
        images: `(N, D)`.
        texts: `(M, D)`.
        classes: Distributions over classes of images `(N, C)` and texts `(M, C)`; rows of zeros are unknown.
    """
    images, texts = images.detach(), texts.detach()
    share = torch.rand(len(images), 1, dtype=images.dtype, device=images.device)
    mixed = None
    if classes is None:
        drawn = torch.randint(len(texts), (len(images),), device=images.device)
    else:
        of_images, of_texts = (p.detach().to(images) for p in classes)
        together = of_images @ of_texts.T
        known = together.sum(1) > 0
        images, share = images[known], share[known]
        drawn = torch.multinomial(together[known], 1).squeeze(1)
        mixed = torch.lerp(of_texts[drawn], of_images[known], share)
    points = torch.lerp(texts[drawn], images, share).requires_grad_()
    lengths = (_slopes(discriminate(points, mixed), points).square().sum(1) + SMALLEST_SQUARE).sqrt()
    return (lengths - 1).square().sum() / max(1, len(lengths))


def _slopes(outputs: Tensor, points: Tensor) -> Tensor:
    """Compute the gradient `(N, D)` of each output `(N,)` in its own point, with a graph of its own."""
    (slopes,) = torch.autograd.grad(outputs.sum(), points, create_graph=True)
    return slopes
