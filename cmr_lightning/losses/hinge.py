"""Hinge terms: what belongs to an item nearer than its negatives, by a margin."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import relu

from cmr_lightning.losses.arithmetic import cosine, full_precision
from cmr_lightning.losses.relations import mean_over_pairs, own_pairs

Positives = Literal["own", "class"]
"""What belongs to an item: its own partner alone, or every item of its class, its image's captions included."""

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
    positives: Positives = "own",
) -> Tensor:
    """Let what belongs together be nearer than any negative, by a margin, from images to texts and back; >= 0.

    Σ_i mean_p Σ_j [m - s(v_i, t_p) + s(v_i, t_j)]₊ + Σ_i mean_p Σ_j [m - s(v_p, t_i) + s(v_j, t_i)]₊, s the cosine, m a
    difference of cosines in 0..2, j over the negatives of anchor i, p over its positives: its own partner, or with
    `positives="class"` every item that is no negative. `hardest` takes the maximum over j in place of the sum; it is
    the same j for all positives of an anchor, and each of them counts. An item counts alike however many positives the
    batch happens to hold for it.

    Source: Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018,
    with their m = 0.2, their one positive, and their sum over the batch; `mean` divides by N, and `class` averages over
    positives (choices). Gradient clipping acts on the sum or the mean, so the two do not train alike.

    Examples:
        >>> points, strangers = torch.eye(2), ~torch.eye(2, dtype=torch.bool)
        >>> bidirectional_triplet(points, points, strangers)
        tensor(0.)
        >>> bidirectional_triplet(points, points.flip(0), strangers, mining="sum")
        tensor(4.8000)
    """
    similarity = cosine(images, texts)
    own = own_pairs(negatives)
    negatives = negatives & ~own
    belonging = own if positives == "own" else ~negatives
    image_costs = _violations(similarity, belonging, negatives, margin, mining)
    text_costs = _violations(similarity.T, belonging.T, negatives.T, margin, mining)
    total = image_costs + text_costs
    return total if reduction == "sum" else total / len(images)


def _violations(similarity: Tensor, positives: Tensor, negatives: Tensor, margin: float, mining: Mining) -> Tensor:
    """Sum over the rows, the anchors, what their negatives cost, on average over an anchor's positives."""
    anchors, chosen = positives.nonzero(as_tuple=True)  # a row each, so that memory is the positives' number times N
    costs = relu(margin - similarity[anchors, chosen][:, None] + similarity[anchors])
    costs = costs.masked_fill(~negatives[anchors], 0)
    costs = costs.max(1).values if mining == "hardest" else costs.sum(1)
    return (costs / positives.sum(1)[anchors]).sum()


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
