"""A least-squares adversary, as a user writes one: a regression tells the modalities apart, without any logarithm.

Mao, Li, Xie, Lau, Wang, Smolley, "Least Squares Generative Adversarial Networks", ICCV 2017, arXiv 1611.04076.

With f the discriminator's score, n images v and m texts t:

    discriminator:  min  1/2 mean_i (f(v_i) - 1)² + 1/2 mean_j f(t_j)²
    encoders:       min  1/2 mean_i f(v_i)² + 1/2 mean_j (f(t_j) - 1)²
"""

from torch import Tensor, nn

from cmr_lightning.discriminators import Discriminator
from cmr_lightning.game.alignments import Adversary, Classes, Space


class Score(nn.Sequential):
    """A score `(N,)` of points `(N, D)`, without bounds.

    Args:
        dim: Size D of the common space.
        hidden: Units of the hidden layer.
    """

    def __init__(self, dim: int, hidden: int = 32) -> None:
        super().__init__(nn.Linear(dim, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1), nn.Flatten(0))


class LeastSquaresAdversary(Adversary):
    """A score is drawn to 1 for images and to 0 for texts, and the encoders exchange these.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes.
        discriminator: Class and arguments of the score.
        space: Where points are compared.
    """

    def __init__(self, dim: int, num_classes: int, discriminator: Discriminator = Score, space: Space = "raw") -> None:
        super().__init__(dim, num_classes, space)
        self.discriminator = discriminator(dim)

    def outputs(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> tuple[Tensor, Tensor]:
        """Return the scores of images `(N,)` and of texts `(M,)`."""
        return self.discriminator(images), self.discriminator(texts)

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute what the encoders minimise."""
        of_images, of_texts = self.outputs(images, texts)
        return (of_images.square().mean() + (of_texts - 1).square().mean()) / 2

    def discriminator_losses(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Compute what the discriminator minimises."""
        of_images, of_texts = self.outputs(images, texts)
        return {"modality": ((of_images - 1).square().mean() + of_texts.square().mean()) / 2}

    def state(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Measure the balanced accuracy of the threshold 1/2."""
        of_images, of_texts = self.outputs(images, texts)
        told = (of_images > 0.5).float().mean() + (of_texts < 0.5).float().mean()
        return {"discriminator_accuracy": told / 2}
