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

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, DataSpec, Features
from cmr_lightning.discriminators import RotationClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.losses import adversarial_rotation, invariance_triplet, label_loss, rotation_loss
from cmr_lightning.ranges import NonNegative
from cmr_lightning.retriever import Discriminator, Retriever

QUARTER_TURNS = 4


class SSAL(Retriever):
    """Label prediction and a triplet constraint across modalities against a modality and a rotation classifier.

    Args:
        discriminator: Class and arguments of the modality head; None for no discriminator at all.
        rotation_discriminator: Class and arguments of the rotation head. It is built, and images are turned, only where
            the term `adversarial_rotation` has a weight.
        margin: mu >= 0, a distance of unscaled embeddings beyond which items of other classes do not count.
        negatives: lam >= 0, weight of the items of other classes within `pair`.
        **kwargs: Options of `Retriever`.

    Raises:
        UserError: If `adversarial_rotation` has a weight and the images come as feature vectors of upright pictures, or
            it has none and they come at four rotations.
    """

    adversarial_terms: ClassVar[tuple[str, ...]] = ("adversarial_modality", "adversarial_rotation")
    terms: ClassVar[Mapping[str, float]] = dict.fromkeys(("label", "pair", *adversarial_terms), 1.0)
    built_on_demand: ClassVar[tuple[str, ...]] = ("adversarial_rotation",)
    points: ClassVar[tuple[str, ...]] = ("image", "text", "turned")

    def __init__(
        self,
        spec: DataSpec,
        discriminator: Discriminator | None = None,
        rotation_discriminator: Discriminator = RotationClassifier,
        margin: NonNegative = 1.0,
        negatives: NonNegative = 0.05,
        weights: dict[str, NonNegative] | None = None,
        **kwargs: Any,
    ) -> None:
        turns = {**self.terms, **(weights or {})}["adversarial_rotation"] != 0
        if turns:
            spec = _upright(spec)
        heads = None if discriminator is None else _heads(discriminator, rotation_discriminator if turns else None)
        super().__init__(spec=spec, discriminator=heads, weights=weights, **kwargs)
        self.turns = turns
        self.margin = margin
        self.negatives = negatives
        self.classifier = nn.Linear(self.dim, self.spec.num_classes)

    def embed(self, batch: Batch) -> Embeddings:
        """Embed the pairs of a batch and, if the rotation head plays, images `turned` by 90 to 270°, `(N, 3, D)`."""
        if not self.turns:
            return super().embed(batch)
        upright, *turned = self.embed_images(torch.cat(quarter_turns(batch.image))).chunk(QUARTER_TURNS)
        return Embeddings(upright, self.embed_texts(batch.text), {"turned": torch.stack(turned, dim=1)})

    def discriminate(self, points: Tensor) -> Tensor:
        """Return the modality head's logits `(N,)` for points `(N, D)`; positive means image."""
        return self.opponent.get_submodule("modality")(points)

    def rotation_logits(self, embeddings: Embeddings) -> Tensor:
        """Return the rotation head's logits `(N, 4, 4)` for images at the four angles."""
        angles = torch.cat([embeddings.image[:, None], embeddings.extra["turned"]], dim=1)
        return self.opponent.get_submodule("rotation")(angles)

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the four terms of the objective, or the first three where nothing is turned."""
        images, texts = embeddings.pair
        losses = {
            "label": label_loss(self.classifier(images), batch.label) + label_loss(self.classifier(texts), batch.label),
            "pair": invariance_triplet(images, texts, self.related(batch), self.margin, self.negatives),
            "adversarial_modality": self.adversarial_loss(embeddings),
        }
        if self.turns:
            losses["adversarial_rotation"] = adversarial_rotation(self.rotation_logits(embeddings), mode=self.adversary)
        return losses

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the cross-entropies of the heads on detached embeddings."""
        losses = super().discriminator_losses(batch, embeddings)
        if self.turns:
            losses["rotation"] = rotation_loss(self.rotation_logits(embeddings))
        return losses


def _upright(spec: DataSpec) -> DataSpec:
    """Return what the encoder sees of one image at one angle."""
    if not isinstance(spec.image, Features):
        return spec
    if spec.image.turns != QUARTER_TURNS:
        raise UserError(
            "SSAL's rotation head needs pictures, or features extracted from pictures at four rotations "
            "(`extract --rotations=true`, then data.image.rotations=true), but the data set serves feature vectors of "
            "upright images, which cannot be turned; model.weights.adversarial_rotation=0 switches the rotation head "
            "off and leaves the rest."
        )
    return spec._replace(image=Features(spec.image.size))


def _heads(modality: Discriminator, rotation: Discriminator | None) -> Discriminator:
    """Combine the makers of the heads into the maker of one discriminator."""

    def make(dim: int) -> nn.ModuleDict:
        rotation_head = {} if rotation is None else {"rotation": rotation(dim)}
        for head in rotation_head.values():
            if isinstance(head, RotationClassifier) and head.angles != QUARTER_TURNS:
                raise UserError(
                    f"model.rotation_discriminator tells {head.angles} angles apart, but images are turned by "
                    f"{QUARTER_TURNS}; leave its angles out."
                )
        return nn.ModuleDict({"modality": modality(dim), **rotation_head})

    return make


def quarter_turns(images: Tensor) -> list[Tensor]:
    """Turn square pictures `(N, 3, H, H)` counter-clockwise by 0, 90, 180 and 270 degrees.

    Features `(N, 4, D)` of pictures that were turned so are split into four tensors `(N, D)`.

    Examples:
        >>> picture = torch.arange(4).view(1, 1, 2, 2)
        >>> [turned.flatten().tolist() for turned in quarter_turns(picture)]
        [[0, 1, 2, 3], [1, 3, 0, 2], [3, 2, 1, 0], [2, 0, 3, 1]]
    """
    if images.ndim == 3:
        return list(images.unbind(1))
    return [torch.rot90(images, turns, dims=(2, 3)) for turns in range(QUARTER_TURNS)]
