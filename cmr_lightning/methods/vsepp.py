"""VSE++: visual-semantic embeddings with hard negatives, and VSE0, its baseline with all negatives.

Faghri, Fleet, Kiros, Fidler, "VSE++: Improving Visual-Semantic Embeddings with Hard Negatives", BMVC 2018, arXiv
1707.05612.

Objective, s the cosine similarity, m the margin, j over the negatives of pair i in the batch, D the modality
classifier's probability of an image:

    triplet      Σ_i max_j [m - s(v_i, t_i) + s(v_i, t_j)]₊ + max_j [m - s(v_i, t_i) + s(v_j, t_i)]₊
    adversarial  1/2N Σ_i log D(v_i) + log(1 - D(t_i))

    generator:  min  triplet [+ lambda adversarial]

With `mining: sum`, VSE0, both max_j are Σ_j.

Where this differs from the paper. The paper's: both forms of the loss, m = 0.2, and the sum over the batch, which is
that of its code and on which its clipping of gradients at norm 2 acts; the mean over the batch is the method
`Triplet`. Ours: two captions of one image are not each other's negatives, nor, on class-level data, are items of one
class; VSE0 differs from VSE++ in its negatives alone, where the code's VSE0 also leaves the images unscaled; the epochs
with all negatives at the start (`warm_up`), for encoders trained from scratch can stall with all embeddings in one
point, where every hardest negative violates the margin by just m. `adversarial` is no part of VSE++ and weighs 0: with
a weight and a `discriminator`, VSE++ plays against a modality classifier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from cmr_lightning.batch import DataSpec, Pairs
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import Mining, bidirectional_triplet
from cmr_lightning.retriever import ImageEncoder, Retriever, TextEncoder


class VSEpp(Retriever):
    """Two encoders trained by the triplet loss of the hardest negatives, summed over the batch.

    Args:
        spec: What the model knows of the data.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        margin: m, a difference of cosines, 0 to 2.
        mining: Whether the hardest negatives count, or all.
        warm_up: Epochs at the start in which all negatives count in any case.
        **kwargs: As in `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0, "adversarial": 0.0}

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        margin: float = 0.2,
        mining: Mining = "hardest",
        warm_up: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, image_encoder, text_encoder, **kwargs)
        self.margin = margin
        self.mining = mining
        self.warm_up = warm_up

    def generator_losses(self, batch: Pairs, embeddings: Embeddings) -> dict[str, Tensor]:
        """The two terms of the objective."""
        mining = "sum" if self.current_epoch < self.warm_up else self.mining
        return {
            "triplet": bidirectional_triplet(*embeddings, ~self.related(batch), self.margin, mining, reduction="sum"),
            "adversarial": self.adversarial_loss(embeddings),
        }
