"""InfoNCE: the symmetric contrastive loss of image-text pre-training, with a learned temperature.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (CLIP), ICML 2021, arXiv
2103.00020; the loss is from van den Oord, Li, Vinyals, "Representation Learning with Contrastive Predictive Coding",
2018, arXiv 1807.03748.

Objective, s_ij the cosine of image i and text j, M_ij whether they match, r = e^a / 0.07 the inverse temperature with a
learned from 0:

    info_nce     -1/2N Σ_ij q_ij log softmax_j(r s_ij) + q_ji log softmax_j(r s_ji)    q_ij = M_ij / Σ_k M_ik

    generator:  min  info_nce

Where this differs from the paper. The paper's: one match a row, both directions, a learned r that starts at 1 / 0.07
and does not exceed 100. Ours: where several texts of a batch match an image, of its own captions or on class-level data
of its class, the target is uniform over them; a is counted from the start, so that weight decay, if there is any,
draws r there and not to 1.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.losses import info_nce
from cmr_lightning.ranges import Positive
from cmr_lightning.retriever import Retriever


class InfoNCE(Retriever):
    """Every pair of a batch against all others, at a temperature that is learned.

    Args:
        temperature: 1 / r at the start, at least 1 / `max_scale`.
        max_scale: Largest r.
        **kwargs: Options of `Retriever`.

    Raises:
        UserError: If r would start beyond its cap.
    """

    terms: ClassVar[Mapping[str, float]] = {"info_nce": 1.0}

    def __init__(self, temperature: Positive = 0.07, max_scale: Positive = 100.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if temperature * max_scale < 1:
            raise UserError(
                f"model.temperature is {temperature}, so its inverse would start beyond model.max_scale, {max_scale}; "
                f"raise one of them."
            )
        self.temperature = temperature
        self.max_scale = max_scale
        self.growth = nn.Parameter(torch.zeros(()))

    @property
    def scale(self) -> Tensor:
        """The inverse temperature r, a scalar."""
        return self.growth.exp() / self.temperature

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the term of the objective."""
        return {"info_nce": info_nce(*embeddings.pair, self.related(batch), self.scale)}

    def after_update(self) -> None:
        """Cap r here: capped in the loss, it would have no gradient to come down by."""
        with torch.no_grad():
            self.growth.clamp_(max=math.log(self.max_scale * self.temperature))
