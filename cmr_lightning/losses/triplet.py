"""Bidirectional triplet term of image-sentence matching (VSE0 and VSE++)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn.functional import relu

from cmr_lightning.losses.geometry import cosine
from cmr_lightning.losses.precision import full_precision
from cmr_lightning.losses.relations import own_pairs

Mining = Literal["hardest", "sum"]
"""Which negatives of an item count: the one that violates the margin most, or all of them."""

Reduction = Literal["sum", "mean"]
"""How the items of a batch are put together."""


@full_precision
def bidirectional_triplet(
    images: Tensor,
    texts: Tensor,
    negatives: Tensor,
    margin: float = 0.2,
    mining: Mining = "hardest",
    reduction: Reduction = "sum",
) -> Tensor:
    """Own partner nearer than any negative, by a margin, from images to texts and from texts to images.

    Σ_i over negatives j of [m - s(v_i, t_i) + s(v_i, t_j)]₊ + [m - s(v_i, t_i) + s(v_j, t_i)]₊, s the cosine;
    `hardest` takes the maximum over j in each of the two brackets in place of the sum.

    Source: Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018,
    with their m = 0.2 and their sum over the batch; `mean` divides by N (choice). Gradient clipping acts on the sum or
    the mean, so the two do not train alike.

    Args:
        images: Image embeddings `(N, D)`.
        texts: Text embeddings `(N, D)`, row i the partner of image i.
        negatives: Whether image i and text j may be held against each other, `(N, N)` bool. Own pairs never are.
        margin: m, a difference of cosines, in 0..2.
        mining: Which negatives of an item count.
        reduction: Sum or mean over the N items.

    Returns:
        A scalar >= 0; 0 where nothing is negative.
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
