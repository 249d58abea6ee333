"""InfoMax: the mutual information of an image and its text, raised beside a triplet loss.

Hjelm, Fedorov, Lavoie-Marchildon, Grewal, Bachman, Trischler, Bengio, "Learning deep representations by mutual
information estimation and maximization" (Deep InfoMax), ICLR 2019, arXiv 1808.06670; between texts and images in Gu,
Bu, Zhou, Yao, Ma, Yu, Yan, "Cross-modal Image Retrieval with Deep Mutual Information Maximization", 2021, arXiv
2103.06032, where an image with a text asks for another image. This is the same term for images and texts that ask for
each other; the short name is ours.

Objective, s the cosine similarity, m the margin, j over the negatives of pair i in the batch, T the critic and
u_ij = T(t_i, v_j) its scores, f the softplus:

    triplet             1/N Σ_i Σ_j [m - s(v_i, t_i) + s(v_i, t_j)]₊ + [m - s(v_i, t_i) + s(v_j, t_i)]₊
    mutual_information  mean_i≠j f(u_ij) + mean_i f(-u_ii) - 2 log 2

    generator:  min  triplet + alpha mutual_information,  over encoders and critic

or, with `mining: hardest`, the largest summand of each bracket in place of its sum over j; with `estimator: nce` or
`dv`, the second term is that of `noise_contrastive` or `donsker_varadhan`.

The critic is no adversary: it gains from the same encoders as the triplet loss does, and shares its optimizer.
Retrieval goes by the cosine of the embeddings, without the critic.

Where this differs from the papers. Deep InfoMax's: estimators and critics, whose JSD and dot product are our defaults.
Gu et al.'s: that the term stands beside a metric loss, between text and image. Ours: the triplet loss, that of VSE++
as a mean over the batch, in place of that of TIRG; alpha = 0.1; the critic sees the embeddings as they are, not scaled
to length 1; texts of one image, and on class-level data items of one class, are not each other's negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from cmr_lightning.batch import DataSpec, Pairs
from cmr_lightning.discriminators import Critic, DotProductCritic
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import Estimator, mutual_information
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.retriever import ImageEncoder, TextEncoder


class InfoMax(Triplet):
    """Two encoders trained by a triplet loss and, with a critic, by the mutual information of what they make.

    Args:
        spec: What the model knows of the data.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        critic: Class and arguments of the critic.
        estimator: By what mutual information is estimated: `jsd`, `nce` or `dv`.
        **kwargs: As in `Triplet`.
    """

    terms: ClassVar[Mapping[str, float]] = {"triplet": 1.0, "mutual_information": 0.1}

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        critic: Critic = DotProductCritic,
        estimator: Estimator = "jsd",
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, image_encoder, text_encoder, **kwargs)
        self.critic = critic(self.dim, self.dim)
        self.estimator: Estimator = estimator

    def generator_losses(self, batch: Pairs, embeddings: Embeddings) -> dict[str, Tensor]:
        """The two terms of the objective."""
        scores = self.critic(embeddings.text, embeddings.image)
        return {
            **super().generator_losses(batch, embeddings),
            "mutual_information": mutual_information(scores, ~self.related(batch), self.estimator),
        }
