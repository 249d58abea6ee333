"""Distances as terms: small within a class and within a pair, large between classes.

Those of DAML: Xu, He, Lu, Gao, Ji, "Deep adversarial metric learning for cross-modal retrieval", World Wide Web 22,
2019. (Not Duan et al., "Deep Adversarial Metric Learning", CVPR 2018, which makes hard negatives within one modality.)
That the terms exist is the paper's; their form here follows Liong, Lu, Tan, Zhou, "Deep Coupled Metric Learning for
Cross-Modal Matching", IEEE TMM 2017, as far as it is known. Choices: embeddings are scaled to length 1 inside each
term, so that d² = 2 - 2 cos lies in 0..4; and instead of 1/(n k) each term is the mean over the chosen pairs of a row,
then over the rows that have any. The two agree where every row has k chosen pairs.
"""

import torch
from torch import Tensor
from torch.nn.functional import relu

from cmr_lightning.losses.arithmetic import cosine, full_precision, unit
from cmr_lightning.losses.relations import mean_over_pairs, own_pairs


@full_precision
def intra_class(embeddings: Tensor, same: Tensor, neighbours: int | None = None) -> Tensor:
    """Squared distance to the items of one's own class, in one modality: mean_ij P_ij d²(f_i, f_j), in 0..4.

    P_ij: same class, j ≠ i and, with `neighbours` = k >= 1, j among the k of them nearest to i (choice: None, all pairs
    of the batch). It is 0 where every class has one item only. Source: DAML.
    """
    distances = _squared_distances(embeddings, embeddings)
    return mean_over_pairs(distances, _nearest(distances, same & ~own_pairs(same), neighbours))


@full_precision
def inter_class(embeddings: Tensor, same: Tensor, margin: float | None = 1.0, neighbours: int | None = None) -> Tensor:
    """Nearness of items of different classes, in one modality: mean_ij Q_ij [mu - d²(f_i, f_j)]₊ >= 0.

    Q_ij: different class, j ≠ i and, with `neighbours` = k, j among the k of them nearest to i. Beyond the margin mu, a
    squared distance in 0..4, a pair costs nothing. Without margin the term is the negative distance, -mean_ij Q_ij d²,
    in -4..0: it never stops pushing. It is 0 where the batch has one class only. Source: DAML; the hinge and mu = 1 are
    a choice.
    """
    distances = _squared_distances(embeddings, embeddings)
    nearness = -distances if margin is None else relu(margin - distances)
    return mean_over_pairs(nearness, _nearest(distances, ~(same | own_pairs(same)), neighbours))


@full_precision
def paired_difference(images: Tensor, texts: Tensor) -> Tensor:
    """Squared distance of image and text of a pair, `(N, D)` each: 1/n Σ_i ||v_i - t_i||², in 0..4. Source: DAML."""
    return (unit(images) - unit(texts)).square().sum(1).mean()


@full_precision
def cross_difference(images: Tensor, texts: Tensor, same: Tensor) -> Tensor:
    """Squared distance of every image to all texts of its class: mean_ij S_ij ||v_i - t_j||², in 0..4.

    A variant of `paired_difference` (choice). The rows of the mean are the images; an image's own text always counts.
    """
    return mean_over_pairs(_squared_distances(images, texts), same | own_pairs(same))


@full_precision
def pair_distance(images: Tensor, texts: Tensor) -> Tensor:
    """Distance of image and text of a pair, `(N, D)` each, as they come and not squared: 1/n Σ_i ||v_i - t_i|| >= 0.

    The gradient of a pair is 0 where its two embeddings coincide. Source: J3 of DSCMR (see `pairwise_likelihood`).
    """
    return torch.linalg.vector_norm(images - texts, dim=1).mean()


def _squared_distances(first: Tensor, second: Tensor) -> Tensor:
    """Compute d² = 2 - 2 cos of each pair of rows, scaled to length 1: `(N, D)` and `(M, D)` to `(N, M)`."""
    return 2 - 2 * cosine(first, second)


def _nearest(distances: Tensor, allowed: Tensor, neighbours: int | None) -> Tensor:
    """Choose the `neighbours` nearest of the allowed items of each row, all of them for None: `(N, M)` bool."""
    if neighbours is None:
        return allowed
    ranked = distances.detach().masked_fill(~allowed, torch.inf)
    nearest = ranked.topk(min(neighbours, ranked.shape[1]), dim=1, largest=False).indices
    return allowed & torch.zeros_like(allowed).scatter(1, nearest, True)
