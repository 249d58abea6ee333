"""Contrastive terms: items that belong together against all others of the batch, by smooth functions of the cosine."""

import math

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

from cmr_lightning.losses.arithmetic import cosine, full_precision, unit
from cmr_lightning.losses.relations import match_distribution, own_pairs


@full_precision
def info_nce(images: Tensor, texts: Tensor, match: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of the scaled cosines against the true matches: ½ [CE(s V̄ T̄ᵀ) + CE(s T̄ V̄ᵀ)] >= 0.

    The target of a row is uniform over its matches, so that texts of one image never repel each other's image (choice);
    with one match a row it is the cross-entropy against the diagonal. Source: Radford et al., "Learning Transferable
    Visual Models From Natural Language Supervision" (CLIP), ICML 2021.

    Args:
        images: Image embeddings `(N, D)`.
        texts: Text embeddings `(N, D)`.
        match: Which images and texts belong together, `(N, N)` bool. Own pairs always do.
        scale: s > 0, the inverse temperature. The caller may learn it, as the exponential of a parameter, and cap it.
    """
    logits = scale * cosine(images, texts)
    image_loss = cross_entropy(logits, match_distribution(match, logits.dtype))
    text_loss = cross_entropy(logits.T, match_distribution(match.T, logits.dtype))
    return (image_loss + text_loss) / 2


@full_precision
def batch_classification(queries: Tensor, targets: Tensor, negatives: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of a query's own target among all of the batch: 1/N Σ_i CE(s² q̄_i·T̄ᵀ, i) >= 0.

    It is 0 where nothing is negative. Source: Vo et al., "Composing Text and Image for Image Retrieval - An Empirical
    Odyssey" (TIRG), CVPR 2019, arXiv 1812.07119, and its code, where s > 0, the length `scale` that embeddings are
    brought to before they are compared, is learned from 4.
    """
    left_out = ~negatives & ~own_pairs(negatives)
    logits = (scale**2 * cosine(queries, targets)).masked_fill(left_out, -math.inf)
    return cross_entropy(logits, torch.arange(len(queries), device=queries.device))


@full_precision
def soft_triplet(queries: Tensor, targets: Tensor, negatives: Tensor, scale: Tensor | float) -> Tensor:
    """Own partner nearer than strangers, by a soft hinge: mean log(1 + exp(d(a, a⁺) - d(a, a⁻))) >= 0.

    Anchors a are all queries and all targets, a⁺ is the other half of an anchor's pair, a⁻ a query or a target of
    another pair, and d the squared Euclidean distance of embeddings of length s. The mean is over all a⁻ of each
    anchor, then over anchors: the expected value of TIRG's code, which draws three a⁻. Source and arguments are as in
    `batch_classification`; pairs i and j are strangers where `negatives` holds in both directions.
    """
    n = len(queries)
    items = scale * unit(torch.cat([queries, targets]))
    distances = (2 * scale**2 - 2 * items @ items.T).clamp(min=0)
    strangers = negatives & negatives.T & ~own_pairs(negatives)
    own = distances.diagonal(n)
    costs = softplus(torch.cat([own, own])[:, None] - distances)
    counted = strangers.tile(2, 2)
    return (costs.masked_fill(~counted, 0).sum(1) / counted.sum(1).clamp(min=1)).mean()


@full_precision
def pairwise_likelihood(images: Tensor, texts: Tensor, same: Tensor) -> Tensor:
    """Negative log-likelihood of "same class" under sigmoid(theta), theta half the cosine: J2 of DSCMR, > 0.

    Σ over {vv, vt, tt} of 1/n² Σ_ij [log(1 + e^theta_ij) - S_ij theta_ij]; the sums hold i = j. Source: Zhen, Hu, Wang,
    Peng, "Deep Supervised Cross-Modal Retrieval" (DSCMR), CVPR 2019, as in the authors' code.
    """
    same = same | own_pairs(same)
    thetas = torch.stack([cosine(images, images), cosine(images, texts), cosine(texts, texts)]) / 2
    return (softplus(thetas) - same * thetas).mean((1, 2)).sum()
