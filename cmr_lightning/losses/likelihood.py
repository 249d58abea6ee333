"""Terms of DSCMR: pairwise likelihood, regression of the labels, distance of a pair.

Zhen, Hu, Wang, Peng, "Deep Supervised Cross-Modal Retrieval", CVPR 2019; forms as in the authors' code.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from cmr_lightning.losses.geometry import cosine
from cmr_lightning.losses.precision import full_precision
from cmr_lightning.losses.relations import own_pairs


@full_precision
def pairwise_likelihood(images: Tensor, texts: Tensor, same: Tensor) -> Tensor:
    """J2, the negative log-likelihood of "same class" under sigmoid(theta), theta half the cosine.

    Σ over {vv, vt, tt} of 1/n² Σ_ij [log(1 + e^theta_ij) - S_ij theta_ij]; the sums hold i = j. Source: see the module.

    Args:
        images: Image embeddings `(N, D)`.
        texts: Text embeddings `(N, D)`.
        same: S, whether items i and j are of the same class, `(N, N)` bool. Own pairs always are.

    Returns:
        A scalar > 0.
    """
    same = same | own_pairs(same)
    thetas = torch.stack([cosine(images, images), cosine(images, texts), cosine(texts, texts)]) / 2
    return (softplus(thetas) - same * thetas).mean((1, 2)).sum()


@full_precision
def label_regression(logits: Tensor, one_hot: Tensor) -> Tensor:
    """J1 of one modality, the unsquared distance of prediction and label: 1/n Σ_i ||P_i - y_i||.

    Source: see the module. The gradient of a row is 0 where prediction and label agree exactly.

    Args:
        logits: P, linear predictions without softmax, `(N, C)`.
        one_hot: y, one-hot or multi-hot, `(N, C)`.

    Returns:
        A scalar >= 0.
    """
    return torch.linalg.vector_norm(logits - one_hot.to(logits.dtype), dim=1).mean()


@full_precision
def pair_distance(images: Tensor, texts: Tensor) -> Tensor:
    """J3, the unsquared distance of image and text of a pair: 1/n Σ_i ||v_i - t_i||, embeddings not normalised.

    Source: see the module. The gradient of a pair is 0 where its two embeddings coincide.

    Args:
        images: Image embeddings `(N, D)`.
        texts: Text embeddings `(N, D)`.

    Returns:
        A scalar >= 0.
    """
    return torch.linalg.vector_norm(images - texts, dim=1).mean()
