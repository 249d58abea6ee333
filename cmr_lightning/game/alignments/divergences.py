"""Alignments without a game: what measures directly how far the modalities are apart, and is minimised."""

from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments.alignment import Alignment, Classes, ClassSource, Space, check_classes
from cmr_lightning.losses import centring, class_centring, coral, maximum_mean_discrepancy, sinkhorn_divergence
from cmr_lightning.ranges import CountFromZero, Positive, Width


class MMD(Alignment):
    """Maximum mean discrepancy: all moments of the two modalities made equal, as Gaussian kernels weigh them.

        mean k(v, v') + mean k(t, t') - 2 mean k(v, t),  k(a, b) = Σ_s exp(-||a - b||² / (s m)),  s = 1/4, 1/2, 1, 2, 4

    with m the median squared distance of the points of both, a constant for the gradient. It is 0 where the batches are
    equal; where only their laws are, it is about 3/N + 3/M for points in 64 dimensions. Gretton, Borgwardt, Rasch,
    Schölkopf, Smola, "A Kernel Two-Sample Test", JMLR 13, 2012; see `maximum_mean_discrepancy`.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes, which are not looked at.
        space: Where points are compared.
    """

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the biased discrepancy of images `(N, D)` and texts `(M, D)`, >= 0."""
        return maximum_mean_discrepancy(images, texts)


class CORAL(Alignment):
    """Correlation alignment: equal covariances C and, unless left out, equal means mu of the modalities.

        with means:     1/D ||mu_v - mu_t||² + 1/D² ||C_v - C_t||²
        without means:  1/(4 D²) ||C_v - C_t||²

    Sun, Saenko, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", ECCV Workshops 2016, is the form
    without means, which does nothing about a gap between the modalities; the one with means is what DomainBed and the
    Transfer Learning Library call CORAL. Both are small numbers, of the order of 1e-3 and 1e-6 for points of length 1
    and D = 64: set their share of the gradient rather than a weight.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes, which are not looked at.
        means: Whether means are made equal, too.
        space: Where points are compared.
    """

    def __init__(self, dim: Width, num_classes: CountFromZero, means: bool = True, space: Space = "raw") -> None:
        super().__init__(dim, num_classes, space)
        self.means = means

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the difference of the moments of images `(N, D)` and texts `(M, D)`, >= 0."""
        return coral(images, texts, self.means)


class Sinkhorn(Alignment):
    """Sinkhorn divergence: the cost of moving the images onto the texts by a smooth plan, less that of standing still.

        OT(v, t) - OT(v, v) / 2 - OT(t, t) / 2,  OT = min_P Σ P_ij ||a_i - b_j||² / 2 + eps KL(P | uniform)

    Feydy, Séjourné, Vialard, Amari, Trouvé, Peyré, "Interpolating between Optimal Transport and MMD using Sinkhorn
    Divergences", AISTATS 2019; see `sinkhorn_divergence`. The plan knows nothing of pairs or classes: it moves an image
    to the texts that are nearest to it now.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes, which are not looked at.
        smoothing: eps as a share of the mean of ||v_i - t_j||² / 2. Small, and single points are matched; large, and
            the means are.
        space: Where points are compared.
    """

    def __init__(
        self, dim: Width, num_classes: CountFromZero, smoothing: Positive = 0.05, space: Space = "raw"
    ) -> None:
        super().__init__(dim, num_classes, space)
        self.smoothing = smoothing

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the divergence of images `(N, D)` and texts `(M, D)`."""
        return sinkhorn_divergence(images, texts, self.smoothing)


class Centring(Alignment):
    """Equal means of the modalities, ||mu_v - mu_t||²: the least that an alignment can do.

    The discrepancy of a linear kernel (Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012).

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes, which are not looked at.
        space: Where points are compared.

    Examples:
        >>> import torch
        >>> Centring(dim=2, num_classes=0)(torch.ones(3, 2), torch.zeros(4, 2))
        tensor(2.)
    """

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the squared distance of the means of images `(N, D)` and texts `(M, D)`, >= 0."""
        return centring(images, texts)


class ClassCentring(Alignment):
    """Equal means of the modalities in each class, mean_c ||mu_vc - mu_tc||² over the classes that both have.

    Xie, Zheng, Chen, Chen, "Learning Semantic Representations for Unsupervised Domain Adaptation", ICML 2018, with
    means of the batch in place of moving averages; see `class_centring`. It is to a conditional adversary what
    `Centring` is to one that is blind to classes. Through it the encoders learn labels, too: compare it with methods
    that have a label loss on the same items.

    Args:
        dim: Size D of the common space.
        num_classes: Number C of classes.
        classes: Where the classes come from: the labels, or the method's classifier, which gets no gradient from here.
        space: Where points are compared.

    Raises:
        UserError: If the data has no classes.
    """

    def __init__(
        self, dim: Width, num_classes: CountFromZero, classes: ClassSource = "labels", space: Space = "raw"
    ) -> None:
        check_classes(type(self).__name__, num_classes)
        super().__init__(dim, num_classes, space)
        self.class_source = classes

    def forward(self, images: Tensor, texts: Tensor, classes: Classes | None = None) -> Tensor:
        """Compute the mean squared distance of the class means of images `(N, D)` and texts `(M, D)`, >= 0.

        Raises:
            UserError: If there are no classes.
        """
        if classes is None:
            raise UserError("ClassCentring was given no classes; it needs a data set with labels.")
        return class_centring(images, texts, *classes)
