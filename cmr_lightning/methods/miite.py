"""MIITE: modality-invariant image-text embedding.

Liu, Zhao, Wei, Zheng, Yang, "Modality-Invariant Image-Text Embedding for Image-Sentence Matching", ACM Transactions on
Multimedia Computing, Communications, and Applications 15(1), 2019, DOI 10.1145/3300939. The short name is ours.

Objective, v̄ and t̄ the embeddings scaled to length 1, D the modality classifier's probability of an image:

    triplet      as in `Triplet`
    alignment    1/2N Σ_i log D(v̄_i) + log(1 - D(t̄_i))    by `ModalityAdversary`

    generator:      min  triplet + lambda alignment
    discriminator:  min  -1/2N Σ_i log D(v̄_i) + log(1 - D(t̄_i))

Training, in the stages of the callback `TrainingStages`: first the triplet loss alone, the image network frozen; then
the discriminator alone, both encoders at rest; then both in turn, lambda growing from 0; at last, if wanted, the same
with the image network unfrozen. Before the third stage MIITE is `Triplet`: a checkpoint that was chosen there says
nothing of the adversary.

Where this differs from the paper: the paper says that a modality classifier and an adversarial loss stand on top of a
triplet-loss baseline, and that a multi-stage training combines similarity constraints and the alignment of
distributions; no code of it is public. All else is our choice: the triplet loss is that of VSE++ (`mining: sum` for all
negatives), as a mean over the batch, so that lambda means the same in batches of any size; D sees directions alone,
since the triplet loss and retrieval do; the generator plays `reversal`, or `flipped`; what the stages are, and how
long; and class-level data, of which the paper has none.

What the adversary adds is the difference to the same settings with `weights.alignment: 0`, the baseline of the paper.
"""

from typing import Any

from torch import Tensor

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.game.alignments import AlignmentFactory, ModalityAdversary
from cmr_lightning.losses.arithmetic import unit
from cmr_lightning.methods.triplet import Triplet


class MIITE(Triplet):
    """A triplet loss against a modality classifier that sees directions.

    Args:
        alignment: Class and arguments of the adversary; None for none.
        **kwargs: Options of `Triplet`.
    """

    def __init__(self, alignment: AlignmentFactory | None = ModalityAdversary, **kwargs: Any) -> None:
        super().__init__(alignment=alignment, **kwargs)

    def aligned(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        """Return the directions of images `(N, D)` and texts `(M, D)`."""
        return unit(embeddings.image), unit(embeddings.text)
