"""Adversaries: a classifier of the modality, blind to classes or told of them, and a Wasserstein critic."""

from typing import ClassVar, Literal

import torch
from torch import Tensor

from cmr_lightning.discriminators import Discriminator, ModalityClassifier
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments.alignment import Adversary, Classes, ClassSource, Space, check_classes
from cmr_lightning.losses import (
    AdversarialMode,
    adversarial_modality,
    binary_entropy,
    class_product,
    modality_loss,
    unit_slope_penalty,
    zero_centred_penalty,
)
from cmr_lightning.ranges import CountFromZero, NonNegative, Positive, Width

Condition = Literal["product", "concatenation"]
"""How a discriminator is told of an item's classes: by `class_product`, or by their distribution beside the point."""


class ModalityAdversary(Adversary):
    """A classifier tells images from texts, and the encoders mislead it.

    With D(x) = sigmoid(z(x)) the probability that x is an image, n images v and m texts t:

        discriminator:  min  L_D = -1/2 (mean_i log D(v_i) + mean_j log(1 - D(t_j)))  [+ gamma l²/2 mean ||∇z||²]
        encoders:       min  -L_D (`reversal`), L_D with the modalities exchanged (`flipped`), or minus the mean entropy
                             of D (`entropy`)

    Ganin and Lempitsky, "Unsupervised Domain Adaptation by Backpropagation", ICML 2015, for the game; the modes are
    those of `AdversarialMode`; the penalty is that of Mescheder, Geiger, Nowozin, "Which Training Methods for GANs do
    actually Converge?", ICML 2018, arXiv 1801.04406, over the items of both modalities. It damps the game, which
    otherwise tends to circle: the encoders overshoot, and the modalities end farther apart than without a game. Ours:
    l², the mean squared length of the points, so that gamma means the same in a space of any scale.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes.
        discriminator: Class and arguments of the classifier.
        mode: What the encoders minimise against it.
        r1: gamma >= 0, weight of the penalty; 1 is strong enough, and 0 is the game without it.
        space: Where points are compared.

    Examples:
        >>> adversary = ModalityAdversary(dim=8, num_classes=0, r1=1.0)
        >>> list(adversary.discriminator_losses(torch.ones(5, 8), torch.zeros(4, 8)))
        ['modality', 'penalty']
    """

    def __init__(
        self,
        dim: Width,
        num_classes: CountFromZero,
        discriminator: Discriminator = ModalityClassifier,
        mode: AdversarialMode = "reversal",
        r1: NonNegative = 0.0,
        space: Space = "raw",
    ) -> None:
        super().__init__(dim, num_classes, space)
        self.discriminator = discriminator(self.input_size())
        self.mode: AdversarialMode = mode
        self.r1 = r1

    def input_size(self) -> int:
        """Return the size of what the discriminator sees of a point."""
        return self.dim

    def discriminate(self, points: Tensor, classes: Tensor | None) -> Tensor:
        """Return the discriminator's logits `(N,)` for points `(N, D)` of classes `(N, C)`."""
        return self.judge(points)

    def outputs(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> tuple[Tensor, Tensor]:
        """Return the logits of images `(N,)` and of texts `(M,)`: positive means image."""
        of_images, of_texts = classes or (None, None)
        return self.discriminate(images, of_images), self.discriminate(texts, of_texts)

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute what the encoders minimise against the discriminator."""
        return adversarial_modality(*self.outputs(images, texts, classes), mode=self.mode)

    def discriminator_losses(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Compute the cross-entropy `modality` and, with `r1`, the `penalty`."""
        losses = {"modality": modality_loss(*self.outputs(images, texts, classes))}
        if self.r1:
            both = None if classes is None else torch.cat(classes)
            points = torch.cat([images, texts]).detach()
            penalty = zero_centred_penalty(lambda points: self.discriminate(points, both), points)
            losses["penalty"] = self.r1 / 2 * points.float().square().sum(1).mean() * penalty
        return losses

    def state(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Measure balanced accuracy, 0 to 1, and mean entropy in nats, 0 to log 2."""
        of_images, of_texts = self.outputs(images, texts, classes)
        entropy = (binary_entropy(of_images).mean() + binary_entropy(of_texts).mean()) / 2
        return {"discriminator_accuracy": _told(of_images, of_texts), "discriminator_entropy": entropy}


class ConditionalAdversary(ModalityAdversary):
    """A classifier that is told an item's classes, so that the encoders must align the modalities class by class.

    Long, Cao, Wang, Jordan, "Conditional Adversarial Domain Adaptation" (CDAN), NeurIPS 2018, arXiv 1705.10667: the
    classifier reads each class's part of a point, √C vec(p xᵀ), or point and p side by side, as conditional GANs do.
    All else is as in `ModalityAdversary`. Through it the encoders learn labels, too: compare it with methods that have
    a label loss on the same items. Ours: the factor √C, without which a flat p hides the point from a new classifier;
    no randomised map for large C D, and no weights by the certainty of p.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes.
        classes: Where p comes from: the labels, or the method's classifier, which gets no gradient from here.
        condition: How the classifier is told of p.
        discriminator: Class and arguments of the classifier.
        mode: What the encoders minimise against it.
        r1: gamma >= 0, weight of the zero-centred penalty.
        space: Where points are compared.

    Raises:
        UserError: If the data has no classes.
    """

    def __init__(
        self,
        dim: Width,
        num_classes: CountFromZero,
        classes: ClassSource = "labels",
        condition: Condition = "product",
        discriminator: Discriminator = ModalityClassifier,
        mode: AdversarialMode = "reversal",
        r1: NonNegative = 0.0,
        space: Space = "raw",
    ) -> None:
        check_classes(type(self).__name__, num_classes)
        self.condition = condition
        super().__init__(dim, num_classes, discriminator, mode, r1, space)
        self.class_source = classes

    def input_size(self) -> int:
        """Return the size of what the discriminator sees of a point: C D, or D + C."""
        return self.dim * self.num_classes if self.condition == "product" else self.dim + self.num_classes

    def discriminate(self, points: Tensor, classes: Tensor | None) -> Tensor:
        """Return the discriminator's logits `(N,)` for points `(N, D)` of classes `(N, C)`."""
        return self.judge(conditioned(points, classes, self.condition))


class WassersteinAdversary(Adversary):
    """A critic of slope 1 measures how far the modalities are apart, and the encoders bring them together.

    With f the critic's score, x_i a random point between v_i and t_i:

        critic:    min  mean f(t) - mean f(v) + penalty mean_i (||∇f(x_i)|| - 1)²
        encoders:  min  mean f(v) - mean f(t)

    Gulrajani, Ahmed, Arjovsky, Dumoulin, Courville, "Improved Training of Wasserstein GANs" (WGAN-GP), NeurIPS 2017,
    arXiv 1704.00028: the penalty of 10; its optimizer, Adam of rate 1e-4 and betas .5 and .9, and its 5 steps of the
    critic are `discriminator_optimizer` and `discriminator_steps` of the model. The force of a critic does not fade as
    the modalities come close, so it circles more than a classifier at a large share of the gradient.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes.
        discriminator: Class and arguments of the critic; without batch normalisation, which the penalty rules out.
        penalty: Weight of the gradient penalty, above 0.
        classes: Where the classes come from that the critic is told, as by CDAN's product; None to tell none.
        space: Where points are compared.

    Raises:
        UserError: If the critic is to be told classes and the data has none.
    """

    stochastic_losses: ClassVar[tuple[str, ...]] = ("penalty",)

    def __init__(
        self,
        dim: Width,
        num_classes: CountFromZero,
        discriminator: Discriminator = ModalityClassifier,
        penalty: Positive = 10.0,
        classes: ClassSource | None = None,
        space: Space = "raw",
    ) -> None:
        super().__init__(dim, num_classes, space)
        if classes is not None:
            check_classes(type(self).__name__, num_classes)
        self.class_source = classes
        self.discriminator = discriminator(dim if classes is None else dim * num_classes)
        self.penalty = penalty

    def discriminate(self, points: Tensor, classes: Tensor | None) -> Tensor:
        """Return the critic's scores `(N,)` of points `(N, D)` of classes `(N, C)`."""
        told = self.class_source is not None
        return self.judge(conditioned(points, classes, "product") if told else points)

    def outputs(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> tuple[Tensor, Tensor]:
        """Return the scores of images `(N,)` and of texts `(M,)`."""
        of_images, of_texts = classes or (None, None)
        return self.discriminate(images, of_images), self.discriminate(texts, of_texts)

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the difference of the mean scores."""
        of_images, of_texts = self.outputs(images, texts, classes)
        return of_images.mean() - of_texts.mean()

    def discriminator_losses(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Compute the critic's difference, `wasserstein`, and its `penalty`."""
        penalty = unit_slope_penalty(self.discriminate, images, texts, classes)
        return {"wasserstein": -self(images, texts, classes), "penalty": self.penalty * penalty}

    def state(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Measure the difference of the mean scores, and the balanced accuracy of a threshold half-way between them."""
        of_images, of_texts = self.outputs(images, texts, classes)
        gap, half_way = of_images.mean() - of_texts.mean(), (of_images.mean() + of_texts.mean()) / 2
        return {"critic_gap": gap, "discriminator_accuracy": _told(of_images - half_way, of_texts - half_way)}


def conditioned(points: Tensor, classes: Tensor | None, condition: Condition) -> Tensor:
    """Join points `(N, D)` with the distributions of their classes `(N, C)`.

    Raises:
        UserError: If there are no classes.
    """
    if classes is None:
        raise UserError("A conditional adversary was given no classes; it needs a data set with labels.")
    return class_product(points, classes) if condition == "product" else torch.cat([points, classes], dim=1)


def _told(of_images: Tensor, of_texts: Tensor) -> Tensor:
    """Compute the share of items that are told right, both modalities counting one half."""
    return ((of_images > 0).float().mean() + (of_texts < 0).float().mean()) / 2
