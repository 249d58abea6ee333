"""Hinge terms: an item's own partner nearer than its negatives, by a margin."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu

from cmr_lightning.losses.arithmetic import cosine, full_precision
from cmr_lightning.losses.relations import mean_over_pairs, own_pairs

Mining = Literal["hardest", "sum"]
"""The negatives of an item that count: the one that violates the margin most, or all of them."""

Reduction = Literal["sum", "mean"]
"""How the costs of the items of a batch become one number."""


@full_precision
def bidirectional_triplet(
    images: Tensor,
    texts: Tensor,
    negatives: Tensor,
    margin: float = 0.2,
    mining: Mining = "hardest",
    reduction: Reduction = "sum",
) -> Tensor:
    """Own partner nearer than any negative, by a margin, from images to texts and from texts to images; >= 0.

    Σ_i over negatives j of [m - s(v_i, t_i) + s(v_i, t_j)]₊ + [m - s(v_i, t_i) + s(v_j, t_i)]₊, s the cosine, m a
    difference of cosines in 0..2; `hardest` takes the maximum over j in each of the two brackets in place of the sum.

    Source: Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018,
    with their m = 0.2 and their sum over the batch; `mean` divides by N (choice). Gradient clipping acts on the sum or
    the mean, so the two do not train alike.

    Examples:
        >>> points, strangers = torch.eye(2), ~torch.eye(2, dtype=torch.bool)
        >>> bidirectional_triplet(points, points, strangers)
        tensor(0.)
        >>> bidirectional_triplet(points, points.flip(0), strangers, mining="sum")
        tensor(4.8000)
    """
    similarity = cosine(images, texts)
    own = similarity.diagonal()
    excluded = ~negatives | own_pairs(negatives)
    image_costs = relu(margin - own[:, None] + similarity).masked_fill(excluded, 0)
    text_costs = relu(margin - own[None, :] + similarity).masked_fill(excluded, 0).T
    if mining == "hardest":
        costs = image_costs.max(1).values + text_costs.max(1).values
    else:
        costs = image_costs.sum(1) + text_costs.sum(1)
    return costs.sum() if reduction == "sum" else costs.mean()


@full_precision
def invariance_triplet(images: Tensor, texts: Tensor, same: Tensor, margin: float, weight: float) -> Tensor:
    """L_imi >= 0: a pair's distance, and other classes kept beyond a margin, for images and texts alike.

    1/n Σ_i [||v_i - t_i|| + lam·mean_k [mu - ||v_i - t_k||]₊], and the same with the roles of v and t exchanged, on
    embeddings as they come, not normalised; the margin mu >= 0 is a distance, lam >= 0 is `weight`.

    Source: the form is that of Wang, Yang, Xu, Hanjalic, Shen, "Adversarial Cross-Modal Retrieval" (ACMR), ACM MM 2017.
    Choices: the positive is an item's own partner; the negatives k are all items of other classes in the batch,
    averaged (and their mean taken over the items that have any); means, not sums, over the batch. The gradient of a
    distance is 0 where two embeddings coincide.
    """
    # The matrix-product form of cdist is quicker but cancels for close pairs, just where the positives are.
    distances = torch.cdist(images, texts, compute_mode="donot_use_mm_for_euclid_dist")
    negatives = ~(same | own_pairs(same))
    hinges = relu(margin - distances)
    repulsion = mean_over_pairs(hinges, negatives) + mean_over_pairs(hinges.T, negatives.T)
    return 2 * distances.diagonal().mean() + weight * repulsion
