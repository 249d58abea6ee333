"""The adversarial games: what a classifier minimises, and what the encoders minimise against it.

Modality: is this embedding an image or a text? One logit z an item; D = sigmoid(z) is the probability of an image.

Rotation: by how many quarter turns was the image turned? Wang, He, Xu, Yang, Li, Shen, "Self-supervised adversarial
learning for cross-modal retrieval" (SSAL), ACM MM Asia 2020. The encoder is to make the angle *un*predictable: the
opposite of learning by rotation prediction. D(v_i^r) is the distribution over angles given to image i turned by its
r-th angle.
"""

from typing import Literal, assert_never

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, logsigmoid

from cmr_lightning.losses.arithmetic import full_precision

AdversarialMode = Literal["reversal", "flipped", "entropy"]
"""What the generator minimises against a discriminator that gives the truth the probability p.

| mode | term | gradient in z | p → 1 | p = 1/2 | p → 0 |
|---|---|---|---|---|---|
| `reversal` | log p | 1 - p | 0: vanishes | 1/2 | 1: overshoots |
| `flipped` | -log(1 - p) | p | 1 | 1/2 | 0 |
| `entropy` | -H(p) | z p (1 - p) | 0: vanishes | 0: rests there | 0, from the other side: pushes back |
"""


@full_precision
def modality_loss(image_logits: Tensor, text_logits: Tensor) -> Tensor:
    """Train the modality classifier, L_D = -1/2n Σ_i [log D(v_i) + log(1 - D(t_i))] >= 0.

    Source: Wang, Yang, Xu, Hanjalic, Shen, "Adversarial Cross-Modal Retrieval" (ACMR), ACM MM 2017; the 1/2 is a
    choice, so that a classifier that knows nothing scores log 2. Logits are `(N,)`, positive for an image.
    """
    return -(logsigmoid(image_logits).mean() + logsigmoid(-text_logits).mean()) / 2


@full_precision
def adversarial_modality(image_logits: Tensor, text_logits: Tensor, mode: AdversarialMode) -> Tensor:
    """Train the encoders against the modality classifier.

    `reversal`: -L_D <= 0 (ACMR). `flipped`: L_D with the modalities exchanged, -1/2n Σ_i [log(1 - D(v_i)) +
    log D(t_i)] >= 0 (Goodfellow et al., "Generative Adversarial Nets", 2014). `entropy`: -1/2n Σ_i [H(D(v_i)) +
    H(D(t_i))] in -log 2..0 (Chen, Liu, Bakker, Lew, "Integrating Information Theory and Adversarial Learning for
    Cross-modal Retrieval", Pattern Recognition 117, 2021; the normalisation is a choice). Logits as in `modality_loss`.
    """
    match mode:
        case "reversal":
            return -modality_loss(image_logits, text_logits)
        case "flipped":
            return modality_loss(text_logits, image_logits)
        case "entropy":
            return -(binary_entropy(image_logits).mean() + binary_entropy(text_logits).mean()) / 2
        case _:
            assert_never(mode)


@full_precision
def binary_entropy(logits: Tensor) -> Tensor:
    """Compute the entropy of p = sigmoid(z) in nats, H = -p log p - (1 - p) log(1 - p), in 0..log 2, for each logit.

    dH/dz = -z p (1 - p). Both terms of H are non-negative, so nothing cancels for a large |z|. Logits may be of any
    shape.
    """
    return -logits.sigmoid() * logsigmoid(logits) - (-logits).sigmoid() * logsigmoid(-logits)


@full_precision
def rotation_loss(logits: Tensor) -> Tensor:
    """Train the rotation classifier, L_rot = -1/Rn Σ_i Σ_r log D(v_i^r)[r] >= 0; log R where it knows nothing.

    Source: SSAL has the structure, the form is a choice. Logits are `(N, R, R)`: row r of item i holds the R logits of
    image i turned by its r-th angle.
    """
    items, angles, _ = logits.shape
    turned_by = torch.arange(angles, device=logits.device).repeat(items)
    return cross_entropy(logits.flatten(0, 1), turned_by)


@full_precision
def adversarial_rotation(logits: Tensor, mode: AdversarialMode) -> Tensor:
    """Train the image encoder against the rotation classifier.

    `reversal`: -L_rot <= 0. `flipped`: cross-entropy towards the uniform distribution over the *other* angles,
    -1/Rn Σ_i Σ_r 1/(R-1) Σ_{a≠r} log D(v_i^r)[a] >= log(R - 1); this form is a choice: it does not vanish before a sure
    classifier, and for R = 2 it is -log(1 - p). `entropy`: -1/Rn Σ_i Σ_r H(D(v_i^r)) in -log R..0, H in nats. Logits as
    in `rotation_loss`, R >= 2.
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
