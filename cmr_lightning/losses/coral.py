"""Correlation alignment (CORAL): the covariances of images and texts made equal."""

from torch import Tensor

from cmr_lightning.losses.arithmetic import full_precision


@full_precision
def coral(images: Tensor, texts: Tensor, means: bool) -> Tensor:
    """Difference of the covariances C of images `(N, D)` and texts `(M, D)`, in any order; >= 0.

    Without `means`, 1/(4 D²) ||C_v - C_t||_F², which does not see where the two sets lie: Sun, Saenko, "Deep CORAL:
    Correlation Alignment for Deep Domain Adaptation", ECCV Workshops 2016. With them, 1/D ||mu_v - mu_t||² + 1/D²
    ||C_v - C_t||_F², what the codes of DomainBed (Gulrajani, Lopez-Paz, "In Search of Lost Domain Generalization", ICLR
    2021) and of the Transfer Learning Library compute under the same name. Covariances are sums over N - 1; a single
    item has none, 0 here.
    """
    dim = images.shape[1]
    difference = (_covariance(images) - _covariance(texts)).square()
    if not means:
        return difference.sum() / (4 * dim**2)
    return (images.mean(0) - texts.mean(0)).square().mean() + difference.mean()


def _covariance(points: Tensor) -> Tensor:
    """Compute the covariance of the columns of points `(N, D)`, `(D, D)`."""
    centred = points - points.mean(0)
    return centred.T @ centred / max(1, len(points) - 1)
