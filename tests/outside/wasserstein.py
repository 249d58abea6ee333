"""InfoNCE against a Wasserstein critic with gradient penalty.

Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs", NeurIPS 2017, arXiv
1704.00028; the first term is InfoNCE's.

Objective, f the critic's score, u uniform in 0 to 1 and x_i = u_i v_i + (1 - u_i) t_i:

    adversarial  1/N Σ_i f(v_i) - f(t_i)
    penalty      1/N Σ_i (||∇f(x_i)|| - 1)²

    generator:      min  info_nce + lambda adversarial
    discriminator:  min  -adversarial + 10 penalty
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.methods import InfoNCE


class WassersteinInfoNCE(InfoNCE):
    """Every pair of a batch against all others, and a critic that estimates how far the modalities are apart.

    Args:
        penalty: Weight of the gradient penalty.
        **kwargs: Options of `InfoNCE`.
    """

    terms: ClassVar[Mapping[str, float]] = {"info_nce": 1.0, "adversarial": 0.1}
    discriminator_output: ClassVar[Literal["logit", "score"]] = "score"
    stochastic_losses: ClassVar[tuple[str, ...]] = ("penalty",)

    def __init__(self, penalty: float = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.penalty = penalty

    def mislead(self, images: Tensor, texts: Tensor) -> Tensor:
        """Compute the difference of the critic's mean scores, which the generator closes."""
        return images.mean() - texts.mean()

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the critic's two terms."""
        difference = self.mislead(*self.modality_logits(embeddings))
        return {"wasserstein": -difference, "penalty": self.penalty * self._penalty(*embeddings.pair)}

    def _penalty(self, images: Tensor, texts: Tensor) -> Tensor:
        share = torch.rand(len(images), 1, device=images.device)
        between = (share * images + (1 - share) * texts).detach().requires_grad_()
        gradient = torch.autograd.grad(self.discriminate(between).sum(), between, create_graph=True)[0]
        return (gradient.norm(dim=1) - 1).square().mean()


class Critic(nn.Sequential):
    """A score `(N,)` of points `(N, D)`, without bounds.

    Args:
        dim: Size D of the common space.
        hidden: Units of the hidden layer.
    """

    def __init__(self, dim: int, hidden: int = 32) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1), nn.Flatten(0))
