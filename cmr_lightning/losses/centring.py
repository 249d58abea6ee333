"""Centring: images and texts of the same mean, as a whole or class by class."""

from torch import Tensor

from cmr_lightning.losses.arithmetic import full_precision

LEAST_WEIGHT = 0.5
"""Items of a class that a batch must hold more of for its mean to count (choice: half of one, so that one labelled item
is enough, and the traces that a classifier leaves of an absent class are not)."""


@full_precision
def centring(images: Tensor, texts: Tensor) -> Tensor:
    """Squared distance of the means of images `(N, D)` and texts `(M, D)`, in any order: ||mu_v - mu_t||² >= 0.

    It is the discrepancy of `maximum_mean_discrepancy` for a linear kernel: Gretton et al., "A Kernel Two-Sample Test",
    JMLR 13, 2012.
    """
    return (images.mean(0) - texts.mean(0)).square().sum()


@full_precision
def class_centring(images: Tensor, texts: Tensor, image_classes: Tensor, text_classes: Tensor) -> Tensor:
    """Squared distance of the class means of images `(N, D)` and texts `(M, D)`, averaged over classes; >= 0.

    mean_c ||mu_vc - mu_tc||², mu_vc = Σ_i p_ic v_i / Σ_i p_ic, over the classes c of weight Σ_i p_ic > `LEAST_WEIGHT`
    in both modalities; 0 where there is none. The distributions p over classes, `(N, C)` and `(M, C)`, get no
    gradient; rows of zeros, items of unknown class, do not count.

    Source: Xie, Zheng, Chen, Chen, "Learning Semantic Representations for Unsupervised Domain Adaptation", ICML 2018,
    which matches moving averages of class means; means of the batch, soft or not, are a choice.
    """
    image_weights, image_means = _class_means(images, image_classes)
    text_weights, text_means = _class_means(texts, text_classes)
    shared = (image_weights > LEAST_WEIGHT) & (text_weights > LEAST_WEIGHT)
    distances = (image_means - text_means).square().sum(1).masked_fill(~shared, 0)
    return distances.sum() / shared.sum().clamp_min(1)


def _class_means(points: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight of each class `(C,)` and the mean of its points `(C, D)`, meaningless for a small weight."""
    shares = classes.detach().to(points)
    weights = shares.sum(0)
    return weights, shares.T @ points / weights.clamp_min(LEAST_WEIGHT)[:, None]
