"""MIITE: modality-invariant image-text embedding.

Liu, Zhao, Wei, Zheng, Yang, "Modality-Invariant Image-Text Embedding for Image-Sentence Matching", ACM Transactions on
Multimedia Computing, Communications, and Applications 15(1), 2019, DOI 10.1145/3300939. The short name is ours.

Objective, v̄ and t̄ the embeddings scaled to length 1, s their cosine, m the margin, j over the negatives of pair i in
the batch, D the modality classifier's probability of an image:

    triplet      1/N Σ_i max_j [m - s(v_i, t_i) + s(v_i, t_j)]₊ + max_j [m - s(v_i, t_i) + s(v_j, t_i)]₊
    adversarial  1/2N Σ_i log D(v̄_i) + log(1 - D(t̄_i))

    generator:      min  triplet + lambda adversarial
    discriminator:  min  -1/2N Σ_i log D(v̄_i) + log(1 - D(t̄_i))

Training, in the stages of the callback `TrainingStages`: first the triplet loss alone, the image network frozen; then
the discriminator alone, both encoders at rest; then both in turn, lambda growing from 0; at last, if wanted, the same
with the image network unfrozen.

Where this differs from the paper: the paper says that a modality classifier and an adversarial loss stand on top of a
triplet-loss baseline, and that a multi-stage training combines the two; no code of it is public. All else is our
choice: the triplet loss is that of VSE++ (`mining: sum` for all negatives), as a mean over the batch, so that lambda
means the same in batches of any size; D sees directions alone, since the triplet loss and retrieval do; the generator
plays `reversal`, or `flipped`; what the stages are, and how long. On class-level data, items of one class are not each
other's negatives.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses.arithmetic import unit
from cmr_lightning.methods.triplet import Triplet


class MIITE(Triplet):
    """A triplet loss against a modality classifier that sees directions; its arguments are those of `Triplet`."""

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0, "adversarial": 1.0}
    adversarial_terms: ClassVar[tuple[str, ...]] = ("adversarial",)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the triplet term and the adversary's."""
        return {**super().generator_losses(batch, embeddings), "adversarial": self.adversarial_loss(embeddings)}

    def discriminate(self, points: Tensor) -> Tensor:
        """Return the discriminator's logits `(N,)` for the directions of points `(N, D)`; positive means image."""
        return super().discriminate(unit(points))
