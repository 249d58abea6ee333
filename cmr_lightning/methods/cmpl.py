"""CMPL: deep cross-modal projection learning, by matching (CMPM) and by classification (CMPC).

Zhang, Lu, "Deep Cross-Modal Projection Learning for Image-Text Matching", ECCV 2018, DOI 10.1007/978-3-030-01246-5_42.

Objective, v̄ = v / ||v||, y_i what image and text i are of:

    cmpm         1/N Σ_ij p_ij log(eps + p_ij / (q_ij + eps))    p_ij = softmax_j(v_i · t̄_j)
                 + the same with the roles of v and t exchanged  q_ij = [y_i = y_j] / Σ_k [y_i = y_k]
    cmpc         1/N Σ_i CE(W̄ v̂_i, y_i) + CE(W̄ t̂_i, y_i)         v̂_i = (v_i · t̄_i) t̄_i, t̂_i = (t_i · v̄_i) v̄_i

    generator:  min  cmpm + lambda cmpc

The rows of W̄, one a class, have length 1, and no class has a bias. Every training image is a class of its own, with its
captions; on class-level data the classes are the labels, in `cmpm` too.

Where this differs from the paper. The paper's: both terms, their sum with weights 1, and on its benchmarks of captions
an own class for every image; eps, 1e-8, is its code's, whose q has rows of sum 1 (a port that is often copied has
not). Ours: the shared target of an item with several labels in `cmpc`, each an equal part of 1.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from cmr_lightning.batch import Batch, DataSpec
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import cross_modal_projection, projection_classification
from cmr_lightning.retriever import Retriever


class CMPL(Retriever):
    """Each embedding's projections on the other modality, matched and classified; arguments are as in `Retriever`."""

    terms: ClassVar[Mapping[str, float]] = {"cmpm": 1.0, "cmpc": 1.0}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.classifier = nn.Linear(self.dim, number_of_targets(self.spec), bias=False)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms of the objective, `cmpc` only where pairs have labels."""
        losses = {"cmpm": cross_modal_projection(*embeddings.pair, self.related(batch))}
        if self.labels_told:
            target = targets(batch, self.spec)
            losses["cmpc"] = projection_classification(*embeddings.pair, self.classifier.weight, target)
        return losses


def number_of_targets(spec: DataSpec) -> int:
    """Count the classes to tell apart: the labels, or on instance-level data the training images."""
    return spec.num_classes if spec.relevance == "label" else spec.num_images


def targets(batch: Batch, spec: DataSpec) -> Tensor:
    """Return the class of each pair, `(N,)` int64, or `(N, C)` where it has several labels, each an equal part of 1."""
    if spec.relevance == "instance":
        return batch.image_id
    if spec.multi_label:
        return batch.label / batch.label.sum(1, keepdim=True).clamp_min(1)
    return batch.label
