"""The game about rotation: by how many quarter turns was the image turned?

Wang, He, Xu, Yang, Li, Shen, "Self-supervised adversarial learning for cross-modal retrieval", ACM MM Asia 2020. The
projector is to make the angle *un*predictable: the opposite of learning by rotation prediction.
"""

from __future__ import annotations

from typing import assert_never

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax

from cmr_lightning.losses.modality import AdversarialMode
from cmr_lightning.losses.precision import full_precision


@full_precision
def rotation_loss(logits: Tensor) -> Tensor:
    """The rotation classifier's loss, L_rot = -1/Rn Σ_i Σ_r log D(v_i^r)[r].

    Source: the structure is the paper's, the form a choice.

    Args:
        logits: `(N, R, R)`; row r of item i holds the R logits of image i turned by its r-th angle.

    Returns:
        A scalar >= 0; log R for a classifier that knows nothing.
    """
    items, angles, _ = logits.shape
    turned_by = torch.arange(angles, device=logits.device).repeat(items)
    return cross_entropy(logits.flatten(0, 1), turned_by)


@full_precision
def adversarial_rotation(logits: Tensor, mode: AdversarialMode) -> Tensor:
    """The image projector's term against the rotation classifier.

    `reversal`: -L_rot. `flipped`: cross-entropy towards the uniform distribution over the *other* angles,
    -1/Rn Σ_i Σ_r 1/(R-1) Σ_{a≠r} log D(v_i^r)[a]; this form is a choice: it does not vanish before a sure classifier,
    and for R = 2 it is -log(1 - p). `entropy`: -1/Rn Σ_i Σ_r H(D(v_i^r)), H in nats.

    Args:
        logits: As in `rotation_loss`, R >= 2.
        mode: See `AdversarialMode`.

    Returns:
        A scalar: <= 0 for `reversal`, >= log(R - 1) for `flipped`, in -log R..0 for `entropy`.
    """
    log_p = log_softmax(logits, dim=2)
    match mode:
        case "reversal":
            return -rotation_loss(logits)
        case "flipped":
            angles = logits.shape[1]
            others = 1 - torch.eye(angles, dtype=log_p.dtype, device=log_p.device)
            return -(others * log_p).sum(2).mean() / (angles - 1)
        case "entropy":
            return (log_p.exp() * log_p).sum(2).mean()
        case _:
            assert_never(mode)
