"""Metric terms of composed retrieval: a query near its own target, far from those of the other queries (TIRG).

Embeddings are scaled to length s before they are compared. Source: Vo et al., "Composing Text and Image for Image
Retrieval - An Empirical Odyssey", CVPR 2019, arXiv 1812.07119, and its code, where s is learned from 4.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from cmr_lightning.losses.geometry import cosine, unit
from cmr_lightning.losses.precision import full_precision
from cmr_lightning.losses.relations import own_pairs


@full_precision
def batch_classification(queries: Tensor, targets: Tensor, negatives: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of the own target among all targets of the batch: 1/N Σ_i CE(s² q̄_i·T̄ᵀ, i).

    Args:
        queries: Embeddings of the queries `(N, D)`.
        targets: Embeddings of the targets `(N, D)`, row i that of query i.
        negatives: Whether query i and target j may be held against each other, `(N, N)` bool. Own pairs never are.
        scale: s > 0.

    Returns:
        A scalar >= 0; 0 where nothing is negative.
    """
    left_out = ~negatives & ~own_pairs(negatives)
    logits = (scale**2 * cosine(queries, targets)).masked_fill(left_out, -math.inf)
    return cross_entropy(logits, torch.arange(len(queries), device=queries.device))


@full_precision
def soft_triplet(queries: Tensor, targets: Tensor, negatives: Tensor, scale: Tensor | float) -> Tensor:
    """Own partner nearer than strangers, by a soft hinge: mean log(1 + exp(d(a, a⁺) - d(a, a⁻))).

    Anchors a are all queries and all targets, a⁺ is the other half of an anchor's pair, a⁻ a query or a target of
    another pair, and d the squared Euclidean distance of embeddings of length s. The mean is over all a⁻ of each
    anchor, then over anchors; TIRG's code draws three of them, so that this is what it expects.

    Args:
        queries: As in `batch_classification`.
        targets: As in `batch_classification`.
        negatives: As in `batch_classification`; what keeps pairs i and j apart is kept so in both directions.
        scale: s > 0.

    Returns:
        A scalar > 0, or 0 where nothing is negative.
    """
    n = len(queries)
    items = scale * unit(torch.cat([queries, targets]))
    distances = (2 * scale**2 - 2 * items @ items.T).clamp(min=0)
    strangers = negatives & negatives.T & ~own_pairs(negatives)
    own = distances.diagonal(n)
    costs = softplus(torch.cat([own, own])[:, None] - distances)
    counted = strangers.tile(2, 2)
    return (costs.masked_fill(~counted, 0).sum(1) / counted.sum(1).clamp(min=1)).mean()
