"""Cross-modal projection matching and classification (CMPM and CMPC).

Zhang, Lu, "Deep Cross-Modal Projection Learning for Image-Text Matching", ECCV 2018.
"""

import math

from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from cmr_lightning.losses.arithmetic import full_precision, unit
from cmr_lightning.losses.relations import match_distribution

EPSILON = 1e-8
"""Replaces the zeros of q, and thereby sets the price of a false match: -log 1e-8 ≈ 18.4 (official code)."""


@full_precision
def cross_modal_projection(images: Tensor, texts: Tensor, match: Tensor) -> Tensor:
    """CMPM: the divergence of the projections' softmax from the true matches, images to texts plus texts to images.

    p_ij = softmax_j(v_i · t̄_j), q_ij = match_ij / Σ_k match_ik, t̄ = t / ||t||;
    L = 1/N Σ_ij p_ij log(eps + p_ij / (q_ij + eps)), 0 (to eps) where p = q, and the same with v and t exchanged.

    Source: the official code, whose q is divided by the row *sum*; a port that is often copied divides by the row's
    L2 norm, so that its q is no distribution. Embeddings are not normalised: their length is the sharpness of p. Two
    arguments of one modality give the term within it.
    """
    return _matching(images, texts, match) + _matching(texts, images, match.T)


@full_precision
def projection_classification(images: Tensor, texts: Tensor, weight: Tensor, label: Tensor) -> Tensor:
    """CMPC: classification of each embedding's projection on the direction of its partner, both modalities added.

    v̂_i = (v_i · t̄_i) t̄_i, t̂_i = (t_i · v̄_i) v̄_i; L = 1/N Σ_i [CE(W̄ v̂_i, y_i) + CE(W̄ t̂_i, y_i)] >= 0, the rows of W̄
    of length 1, no bias; W is `weight` `(C, D)`, y a class index `(N,)` int64, or the share of each class `(N, C)`, in
    rows that sum to 1. Embeddings are not normalised. Source: the paper and its official code; the projections pass
    gradient to both modalities.
    """
    classes = unit(weight).T
    image_loss = cross_entropy(_project(images, texts) @ classes, label)
    text_loss = cross_entropy(_project(texts, images) @ classes, label)
    return image_loss + text_loss


def _matching(queries: Tensor, gallery: Tensor, match: Tensor) -> Tensor:
    """Compute one direction of CMPM, the logarithm of the sum with eps taken on logarithms."""
    log_p = log_softmax(queries @ unit(gallery).T, dim=1)
    log_q = (match_distribution(match, log_p.dtype) + EPSILON).log()
    log_ratio = (log_p - log_q).logaddexp(log_p.new_tensor(math.log(EPSILON)))
    return (log_p.exp() * log_ratio).sum(1).mean()


def _project(embeddings: Tensor, partners: Tensor) -> Tensor:
    """Project each embedding on the direction of its partner, `(N, D)`."""
    directions = unit(partners)
    return (embeddings * directions).sum(1, keepdim=True) * directions
