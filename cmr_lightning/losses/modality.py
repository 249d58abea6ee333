"""The game about modality: is this embedding an image or a text?

One logit z an item; D = sigmoid(z) is the discriminator's probability that the item is an image.
"""

from __future__ import annotations

from typing import Literal, assert_never

from torch import Tensor
from torch.nn.functional import logsigmoid

from cmr_lightning.losses.precision import full_precision

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
    """The discriminator's loss, L_D = -1/2n Σ_i [log D(v_i) + log(1 - D(t_i))].

    Source: Wang, Yang, Xu, Hanjalic, Shen, "Adversarial Cross-Modal Retrieval", ACM MM 2017; the 1/2 is a choice, so
    that a discriminator that knows nothing scores log 2.

    Args:
        image_logits: Logits of the images, `(N,)`, positive = image.
        text_logits: Logits of the texts, `(N,)`.

    Returns:
        A scalar >= 0.
    """
    return -(logsigmoid(image_logits).mean() + logsigmoid(-text_logits).mean()) / 2


@full_precision
def adversarial_modality(image_logits: Tensor, text_logits: Tensor, mode: AdversarialMode) -> Tensor:
    """The generator's term against the modality classifier.

    `reversal`: -L_D (ACMR). `flipped`: L_D with the labels of the modalities exchanged, -1/2n Σ_i [log(1 - D(v_i)) +
    log D(t_i)] (Goodfellow et al., "Generative Adversarial Nets", 2014). `entropy`: -1/2n Σ_i [H(D(v_i)) + H(D(t_i))]
    (Chen, Liu, Bakker, Lew, "Integrating Information Theory and Adversarial Learning for Cross-modal Retrieval",
    Pattern Recognition 117, 2021; the normalisation is a choice).

    Args:
        image_logits: Logits of the images, `(N,)`, positive = image.
        text_logits: Logits of the texts, `(N,)`.
        mode: See `AdversarialMode`.

    Returns:
        A scalar: <= 0 for `reversal`, >= 0 for `flipped`, in -log 2..0 for `entropy`.
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
    """Entropy of sigmoid(z) in nats, H = -p log p - (1 - p) log(1 - p), in 0..log 2; dH/dz = -z p (1 - p).

    Args:
        logits: z, any shape.

    Returns:
        H of each logit, same shape. Both terms are non-negative, so nothing cancels for a large |z|.
    """
    return -logits.sigmoid() * logsigmoid(logits) - (-logits).sigmoid() * logsigmoid(-logits)
