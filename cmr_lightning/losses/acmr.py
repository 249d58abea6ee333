"""Invariance term of ACMR.

Wang, Yang, Xu, Hanjalic, Shen, "Adversarial Cross-Modal Retrieval", ACM MM 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import relu

from cmr_lightning.losses.precision import full_precision
from cmr_lightning.losses.relations import mean_over_pairs, own_pairs


@full_precision
def invariance_triplet(images: Tensor, texts: Tensor, same: Tensor, margin: float, weight: float) -> Tensor:
    """L_imi: a pair's distance, and other classes kept beyond a margin, for images and texts alike.

    1/n Σ_i [||v_i - t_i|| + lam·mean_k [mu - ||v_i - t_k||]₊], and the same with the roles of v and t exchanged, on
    embeddings as they come, not normalised.

    Source: the form is the paper's. Choices: the positive is an item's own partner; the negatives k are all items of
    other classes in the batch, averaged (and their mean taken over the items that have any); means, not sums, over the
    batch. The gradient of a distance is 0 where two embeddings coincide.

    Args:
        images: Image embeddings `(N, D)`.
        texts: Text embeddings `(N, D)`.
        same: Whether image i and text j are of the same class, `(N, N)` bool. Own pairs are never negatives.
        margin: mu >= 0, a distance.
        weight: lam >= 0, weight of the negatives.

    Returns:
        A scalar >= 0.
    """
    # The matrix-product form of cdist is quicker but cancels for close pairs, just where the positives are.
    distances = torch.cdist(images, texts, compute_mode="donot_use_mm_for_euclid_dist")
    negatives = ~(same | own_pairs(same))
    hinges = relu(margin - distances)
    repulsion = mean_over_pairs(hinges, negatives) + mean_over_pairs(hinges.T, negatives.T)
    return 2 * distances.diagonal().mean() + weight * repulsion
