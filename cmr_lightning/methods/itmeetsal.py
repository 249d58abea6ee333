"""ITMeetsAL: information theory meets adversarial learning.

Chen, Liu, Bakker, Lew, "Integrating Information Theory and Adversarial Learning for Cross-modal Retrieval", Pattern
Recognition 117, 2021, arXiv 2104.04991, DOI 10.1016/j.patcog.2021.107983.

Objective, v̄ = v / ||v||, s the cosine similarity, y_i the class of pair i, W a linear classifier shared by the
modalities, D the modality classifier's probability of an image, H(p) = -p log p - (1 - p) log(1 - p) its entropy:

    kl           1/N Σ_ij p_ij log(eps + p_ij / (q_ij + eps))    p_ij = softmax_j(a_i · b̄_j)
                 summed over (a, b) = (v, t), (t, v), (v, v), (t, t)  q_ij = [y_i = y_j] / Σ_k [y_i = y_k]
    triplet      as in `Triplet`
    label        1/N Σ_i CE(W v_i, y_i) + CE(W t_i, y_i)
    calibration  tau²/N Σ_i KL(softmax(W t_i / tau) || softmax(W v_i / tau))
    alignment    -1/2N Σ_i H(D(v_i)) + H(D(t_i))                 by `ModalityAdversary`, mode `entropy`

    generator:      min  kl + l1 triplet + l2 label + l3 calibration + l4 alignment
    discriminator:  min  -1/2N Σ_i log D(v_i) + log(1 - D(t_i))

The term `alignment` is the entropy term: the generator does not play for the wrong answer but for the discriminator's
greatest doubt, D = 1/2, where the gradient of the term is zero. It vanishes where D is certain, too: a discriminator
that has won teaches the encoders nothing, and should be kept weak.

The classes are the labels, or, on instance-level data, the training images with their captions. Texts of one class are
no negatives of its images.

Where this differs from the paper. The paper's, from its abstract: the entropy of a modality classifier, which the
encoders maximise; a KL divergence and a bidirectional triplet loss that tie similarities within and across modalities;
a KL regulariser with temperature that calibrates a label classifier; four deep image models. No code of it is public.
All else is our choice: that `kl` has the form of CMPM (Zhang and Lu 2018); that it, and not `triplet`, is what ties
similarities within a modality (`kl_intra: false` leaves them out); hardest negatives and m = 0.2; plain classification,
not that of CMPC (`label_form`); direction, tau and tau² of the calibration, and that it detaches neither side; one
logit of D for a softmax over two; one update of each player in turn; the ramp; every weight; the positives of a class
on class-level data, of which the paper has none.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.game.alignments import AlignmentFactory, ModalityAdversary
from cmr_lightning.losses import (
    Mining,
    Positives,
    bidirectional_triplet,
    cross_modal_projection,
    label_calibration,
    label_loss,
    projection_classification,
)
from cmr_lightning.methods.cmpl import number_of_targets, targets
from cmr_lightning.methods.triplet import usual_positives
from cmr_lightning.ranges import CosineMargin, Positive
from cmr_lightning.retriever import Labelled, Retriever, sum_of


def entropy_adversary(dim: int, num_classes: int) -> ModalityAdversary:
    """Make the paper's adversary: a modality classifier whose entropy the encoders raise."""
    return ModalityAdversary(dim, num_classes, mode="entropy")


class ITMeetsAL(Retriever):
    """Projection matching, triplets and calibrated labels against a modality classifier whose entropy is raised.

    Args:
        kl_intra: Match images with images and texts with texts in `kl`, too: the last two (a, b).
        margin: m, a difference of cosines, 0 to 2.
        mining: The negatives that count, all or the hardest.
        positives: What belongs to an item in `triplet`, as in `Triplet`.
        label_form: `plain` classifies embeddings, `cmpc` their projections on their partners by weights of length 1.
        temperature: tau > 0, of the calibration.
        alignment: Class and arguments of the adversary, whose mode `entropy` is the paper's; None for none.
        **kwargs: Options of `Retriever`.
    """

    terms: ClassVar[Mapping[str, float]] = dict.fromkeys(("kl", "triplet", "label", "calibration"), 1.0)

    def __init__(
        self,
        kl_intra: bool = True,
        margin: CosineMargin = 0.2,
        mining: Mining = "hardest",
        positives: Positives | None = None,
        label_form: Literal["plain", "cmpc"] = "plain",
        temperature: Positive = 4.0,
        alignment: AlignmentFactory | None = entropy_adversary,
        **kwargs: Any,
    ) -> None:
        super().__init__(alignment=alignment, **kwargs)
        self.kl_intra = kl_intra
        self.margin = margin
        self.mining: Mining = mining
        self.positives = positives or usual_positives(self.spec)
        self.label_form = label_form
        self.temperature = temperature
        self.classifier = nn.Linear(self.dim, number_of_targets(self.spec), bias=False)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms of pairs: `kl`, `triplet`, `calibration` and, in the form `cmpc`, `label`."""
        related, (images, texts) = self.related(batch), embeddings.pair
        divergence = cross_modal_projection(images, texts, related)
        if self.kl_intra:
            divergence = divergence + sum(cross_modal_projection(f, f, related) for f in embeddings.pair) / 2
        losses = {
            "kl": divergence,
            "triplet": bidirectional_triplet(images, texts, ~related, self.margin, self.mining, "mean", self.positives),
            "calibration": label_calibration(self.classifier(images), self.classifier(texts), self.temperature),
        }
        if self.label_form == "cmpc" and self.labels_told:
            losses["label"] = projection_classification(images, texts, self.classifier.weight, self.targets(batch))
        return losses

    def label_losses(self, images: Labelled, texts: Labelled) -> dict[str, Tensor]:
        """Compute the term `label` in its form `plain`."""
        if self.label_form == "cmpc":
            return {}
        return {"label": sum_of(label_loss(self.classifier(m.points), m.label) for m in (images, texts))}

    def targets(self, batch: Batch) -> Tensor:
        """Return the classes of a batch's pairs: their labels, or on instance-level data their images."""
        return targets(batch, self.spec)
