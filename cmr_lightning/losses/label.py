"""Terms on the class logits of images and texts."""

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from cmr_lightning.losses.arithmetic import full_precision


@full_precision
def label_loss(logits: Tensor, label: Tensor) -> Tensor:
    """Cross-entropy of one modality's class logits `(N, C)`, -1/n Σ_i Σ_c y_ic log softmax(z_i)_c >= 0.

    Labels y are class indices `(N,)` int64, or multi-hot `(N, C)`, where y_i is scaled to sum 1, an item's labels
    sharing its weight (choice); an item without labels adds 0 and counts in n. Source: the label term of ACMR (Wang et
    al., "Adversarial Cross-Modal Retrieval", ACM MM 2017), for each modality by itself.
    """
    if label.ndim == 1:
        return cross_entropy(logits, label)
    hot = label.to(logits.dtype)
    return cross_entropy(logits, hot / hot.sum(1, keepdim=True).clamp_min(1))


@full_precision
def label_calibration(image_logits: Tensor, text_logits: Tensor, temperature: float = 4.0) -> Tensor:
    """Agreement of the two modalities' class distributions: tau²/n Σ_i KL(softmax(t_i / tau) || softmax(v_i / tau)).

    Logits are `(N, C)`, tau > 0; it is >= 0, and 0 for equal logits. Source: Chen, Liu, Bakker, Lew, "Integrating
    Information Theory and Adversarial Learning for Cross-modal Retrieval", Pattern Recognition 117, 2021, has a KL
    regulariser with temperature; its direction, the factor tau² (which keeps the size of the gradients), tau = 4, and
    that neither side is detached are choices.
    """
    log_image = log_softmax(image_logits / temperature, dim=1)
    log_text = log_softmax(text_logits / temperature, dim=1)
    return temperature**2 * kl_div(log_image, log_text, reduction="batchmean", log_target=True)


@full_precision
def label_regression(logits: Tensor, one_hot: Tensor) -> Tensor:
    """Distance of prediction and label in one modality, not squared: 1/n Σ_i ||P_i - y_i|| >= 0.

    P are linear predictions `(N, C)` without softmax, y one-hot or multi-hot `(N, C)`. The gradient of a row is 0 where
    they agree exactly. Source: J1 of DSCMR (see `pairwise_likelihood`).
    """
    return torch.linalg.vector_norm(logits - one_hot.to(logits.dtype), dim=1).mean()
