"""The slot `alignment`: what pulls images and texts together whatever pairs they are in, adversarial or not."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

from torch import Tensor, nn

from cmr_lightning.errors import UserError
from cmr_lightning.losses import AdversarialMode
from cmr_lightning.losses.arithmetic import unit
from cmr_lightning.ranges import Checked, CountFromZero, Width

Classes = tuple[Tensor, Tensor]
"""Distributions over classes of images `(N, C)` and of texts `(M, C)`, detached: one-hot labels, equal parts of several
labels, or a classifier's probabilities. A row of zeros is an item of unknown class."""

Space = Literal["raw", "unit"]
"""Where points are compared: as they are, or scaled to length 1, as the cosine sees them."""

ClassSource = Literal["labels", "predicted"]
"""Where `Classes` come from: the labels of a batch, or the method's own classifier, as it is at the time."""


class Alignment(Checked, nn.Module, ABC):
    """A term that the encoders minimise beside those of the method: it is small where images and texts lie alike.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes; 0 where the data has none.
        space: Where points are compared. `unit` leaves out the lengths of embeddings, which the cosine does not see.

    Attributes:
        class_source: Where the classes of the items come from; None for an alignment that takes no classes.
    """

    class_source: ClassSource | None = None
    stochastic_losses: ClassVar[tuple[str, ...]] = ()
    """Losses that draw random numbers, so that two computations of them differ."""

    def __init__(self, dim: Width, num_classes: CountFromZero, space: Space = "raw") -> None:
        super().__init__()
        self.dim = dim
        self.num_classes = num_classes
        self.space = space

    @abstractmethod
    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the scalar that the encoders minimise, from images `(N, D)` and texts `(M, D)`, as `placed` them."""

    def placed(self, points: Tensor) -> Tensor:
        """Return points `(N, D)` in the alignment's space."""
        return unit(points) if self.space == "unit" else points


class Adversary(Alignment):
    """An alignment by a game: a discriminator learns to tell the modalities apart, and the encoders to prevent it.

    Attributes:
        discriminator: The network of the other player, which has an optimizer of its own.
        mode: What the encoders minimise against a classifier; None against a critic.
    """

    discriminator: nn.Module
    mode: AdversarialMode | None = None

    def placed(self, points: Tensor) -> Tensor:
        """Return points `(N, D)` in the adversary's space, of which those of `unit` have the length √D.

        A network begins with inputs of order 1 in each coordinate; given smaller ones, it learns too late to play.
        """
        return super().placed(points) * (self.dim**0.5 if self.space == "unit" else 1.0)

    def judge(self, inputs: Tensor) -> Tensor:
        """Return what the discriminator says of its inputs `(N, ...)`, in the precision of its weights, `(N,)`."""
        weight = next(self.discriminator.parameters(), inputs)  # there may be none
        return self.discriminator(inputs.to(weight.dtype))

    @abstractmethod
    def discriminator_losses(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Compute the terms whose sum the discriminator minimises, on detached points, as `placed` them."""

    @abstractmethod
    def outputs(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> tuple[Tensor, Tensor]:
        """Return the discriminator's output for images `(N,)` and texts `(M,)`: higher means image."""

    @abstractmethod
    def state(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> dict[str, Tensor]:
        """Measure the discriminator on detached points, each value by the name that it is logged under."""


AlignmentFactory = Callable[[int, int], Alignment]
"""Makes an alignment from the size D of the common space and the number C of classes."""


def check_classes(alignment: str, num_classes: int) -> None:
    """Raise UserError if an alignment that is told of classes would be given none."""
    if num_classes == 0:
        raise UserError(
            f"model.alignment is {alignment}, which is told the classes of items, but the data set is used without "
            f"classes; choose another alignment, such as ModalityAdversary."
        )
