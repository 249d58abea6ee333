"""SSAL: self-supervised adversarial learning.

Wang, He, Xu, Yang, Li, Shen, "Self-supervised adversarial learning for cross-modal retrieval", ACM Multimedia Asia
2020, DOI 10.1145/3444685.3446269.

Embeddings of image x turned by r quarter turns, and of text z:

    v_i^r = f(turn_r(x_i)), r in {0, 1, 2, 3};  v_i = v_i^0        t_i = g(z_i)

Objective, y the classes, p a linear softmax classifier shared by the modalities, D_m the modality head's probability of
an image, D_r the rotation head's distribution over the four turns:

    label                 -1/n Σ_i log p(v_i)[y_i] + log p(t_i)[y_i]
    pair                  1/n Σ_i ||v_i - t_i|| + lam mean_k [mu - ||v_i - t_k||]₊     k of other classes
                          + the same with the roles of v and t exchanged
    adversarial_modality  1/2n Σ_i log D_m(v_i) + log(1 - D_m(t_i))
    adversarial_rotation  1/4n Σ_i Σ_r log D_r(v_i^r)[r]

    generator:      min  label + alpha pair + lambda_1 adversarial_modality + lambda_2 adversarial_rotation
    discriminator:  min  -1/2n Σ_i log D_m(v_i) + log(1 - D_m(t_i))  -  1/4n Σ_i Σ_r log D_r(v_i^r)[r]

The projector makes the rotation of an image *un*predictable, the opposite of learning by predicting it: what tells an
image from its turned copy is something that its text does not speak of.

Where this differs from the paper. The paper's: a discriminator of two heads, one of which tells the rotation angle from
image representations and the other the modality from embeddings, and a projector that confuses both. No code of it is
public. Ours: the four angles; that the rotation head reads the embeddings, and that turned images enter no other term;
`label` and `pair`, which are ACMR's (Wang et al. 2017); the three modes of `adversary` for both heads, `reversal` by
default, and the ramp of both weights; every weight.

Turned copies go through the image encoder together with the upright images, four times as many rows: batch
normalisation in the encoder sees all of them in training, and the upright ones alone in evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, ComposedQuery, DataSpec, Features
from cmr_lightning.discriminators import RotationClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.losses import adversarial_rotation, invariance_triplet, label_loss, rotation_loss
from cmr_lightning.retriever import Discriminator, ImageEncoder, Retriever, TextEncoder

QUARTER_TURNS = 4


class TurnedEmbeddings(Embeddings):
    """Embeddings of a batch, a pair of tensors as ever, that know those of the turned images, too.

    Attributes:
        turned: Images at the four angles, `(N, 4, D)`, of which `image` is the first.
    """

    turned: Tensor

    def __new__(cls, turned: Tensor, text: Tensor) -> TurnedEmbeddings:
        """Put the turned images beside the pair."""
        embeddings = super().__new__(cls, turned[:, 0], text)
        embeddings.turned = turned
        return embeddings

    def tensors(self) -> tuple[Tensor, ...]:
        """All that belongs to a batch, row by row, in the order in which the constructor takes it."""
        return self.turned, self.text

    def sources(self) -> tuple[Tensor, ...]:
        """Images at all angles, from which the upright ones are taken, and texts."""
        return self.tensors()


class SSAL(Retriever):
    """Label prediction and a triplet constraint across modalities against a modality and a rotation classifier.

    Args:
        spec: What the model knows of the data.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        discriminator: Class and arguments of the modality head; None for no discriminator at all.
        rotation_discriminator: Class and arguments of the rotation head. It is built, and images are turned, only where
            the term `adversarial_rotation` has a weight.
        margin: mu >= 0, a distance of embeddings as they come, beyond which items of other classes are left in peace.
        negatives: lam >= 0, weight of the items of other classes within `pair`.
        weights: As in `Retriever`.
        **kwargs: As in `Retriever`.

    Raises:
        UserError: If `adversarial_rotation` has a weight and the images come as feature vectors of upright pictures, or
            it has none and they come at four rotations.
    """

    terms: ClassVar[Mapping[str, float]] = {
        "label": 1.0,
        "pair": 1.0,
        "adversarial_modality": 1.0,
        "adversarial_rotation": 1.0,
    }
    adversarial_terms: ClassVar[tuple[str, ...]] = ("adversarial_modality", "adversarial_rotation")
    built_on_demand: ClassVar[tuple[str, ...]] = ("adversarial_rotation",)

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        discriminator: Discriminator | None = None,
        rotation_discriminator: Discriminator = RotationClassifier,
        margin: float = 1.0,
        negatives: float = 0.05,
        weights: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        turns = {**self.terms, **(weights or {})}["adversarial_rotation"] != 0
        if turns and isinstance(spec.image, Features):
            if spec.image.turns != QUARTER_TURNS:
                raise UserError(
                    "SSAL's rotation head needs pictures, or features extracted from pictures at four rotations "
                    "(`extract --rotations=true`, then data.image.rotations=true), but the data set serves feature "
                    "vectors of upright images, which cannot be turned; model.weights.adversarial_rotation=0 switches "
                    "the rotation head off and leaves the rest."
                )
            spec = spec._replace(image=Features(spec.image.size))  # what the encoder sees of one image at one angle

        def heads(dim: int) -> nn.ModuleDict:
            assert discriminator is not None
            rotation = {"rotation": rotation_discriminator(dim)} if turns else {}
            return nn.ModuleDict({"modality": discriminator(dim), **rotation})

        super().__init__(
            spec,
            image_encoder,
            text_encoder,
            discriminator=None if discriminator is None else heads,
            weights=weights,
            **kwargs,
        )
        self.turns = turns
        self.margin = margin
        self.negatives = negatives
        self.classifier = nn.Linear(self.dim, spec.num_classes)

    def embed(self, batch: Batch) -> Embeddings:
        """The pairs of a batch in the common space, with the turned images if the rotation head plays."""
        if not self.turns:
            return super().embed(batch)
        assert not isinstance(batch.text, ComposedQuery)
        turned = self.embed_images(torch.cat(quarter_turns(batch.image))).chunk(QUARTER_TURNS)
        return TurnedEmbeddings(torch.stack(turned, dim=1), self.embed_texts(batch.text))

    def modality_logits(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        """The modality head's logits `(N,)` of images and of texts; positive means image."""
        modality = self._head("modality")
        return modality(embeddings.image), modality(embeddings.text)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """The four terms of the objective, or the first three where nothing is turned."""
        images, texts = embeddings
        losses = {
            "label": label_loss(self.classifier(images), batch.label) + label_loss(self.classifier(texts), batch.label),
            "pair": invariance_triplet(images, texts, self.related(batch), self.margin, self.negatives),
            "adversarial_modality": self.adversarial_loss(embeddings),
        }
        if isinstance(embeddings, TurnedEmbeddings):
            logits = self._head("rotation")(embeddings.turned)
            losses["adversarial_rotation"] = adversarial_rotation(logits, mode=self.adversary)
        return losses

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """The cross-entropies of the heads on detached embeddings."""
        losses = super().discriminator_losses(batch, embeddings)
        if isinstance(embeddings, TurnedEmbeddings):
            losses["rotation"] = rotation_loss(self._head("rotation")(embeddings.turned))
        return losses

    def _head(self, name: str) -> nn.Module:
        assert isinstance(self.discriminator, nn.ModuleDict)
        return self.discriminator[name]


def quarter_turns(images: Tensor) -> list[Tensor]:
    """Images turned counter-clockwise by 0, 90, 180 and 270 degrees.

    Args:
        images: Square pictures `(N, 3, H, H)`, or the features `(N, 4, D)` of pictures that were turned so.

    Returns:
        Four tensors `(N, 3, H, H)` or `(N, D)`.
    """
    if images.ndim == 3:
        return list(images.unbind(1))
    return [torch.rot90(images, turns, dims=(2, 3)) for turns in range(QUARTER_TURNS)]
