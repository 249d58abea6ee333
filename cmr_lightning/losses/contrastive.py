"""Contrastive term of image-text pre-training (InfoNCE, as in CLIP)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from cmr_lightning.losses.geometry import cosine
from cmr_lightning.losses.precision import full_precision
from cmr_lightning.losses.relations import match_distribution


@full_precision
def info_nce(images: Tensor, texts: Tensor, match: Tensor, scale: Tensor | float) -> Tensor:
    """Cross-entropy of the scaled cosines against the true matches: ½ [CE(s V̄ T̄ᵀ) + CE(s T̄ V̄ᵀ)].

    The target of a row is uniform over its matches, so that texts of one image never repel each other's image (choice);
    with one match a row it is the cross-entropy against the diagonal. Source: Radford et al., "Learning Transferable
    Visual Models From Natural Language Supervision", ICML 2021.

    Args:
        images: Image embeddings `(N, D)`.
        texts: Text embeddings `(N, D)`.
        match: Whether image i and text j belong together, `(N, N)` bool. Own pairs always do.
        scale: s > 0, the inverse temperature. Learning it, as the exponential of a parameter, and capping it are the
            caller's part.

    Returns:
        A scalar >= 0.
    """
    logits = scale * cosine(images, texts)
    image_loss = cross_entropy(logits, match_distribution(match, logits.dtype))
    text_loss = cross_entropy(logits.T, match_distribution(match.T, logits.dtype))
    return (image_loss + text_loss) / 2
