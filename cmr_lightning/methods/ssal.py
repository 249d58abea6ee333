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
    alignment             1/2n Σ_i log D_m(v_i) + log(1 - D_m(t_i))     by `ModalityAdversary`
    rotation              1/4n Σ_i Σ_r log D_r(v_i^r)[r]

    generator:      min  label + alpha pair + lambda_1 alignment + lambda_2 rotation
    discriminator:  min  -1/2n Σ_i log D_m(v_i) + log(1 - D_m(t_i))  -  1/4n Σ_i Σ_r log D_r(v_i^r)[r]

The projector makes the rotation of an image *un*predictable, the opposite of learning by predicting it: what tells an
image from its turned copy is something that its text does not speak of.

Where this differs from the paper. The paper's: a discriminator of two heads, one of which tells the rotation angle from
image representations and the other the modality from embeddings, and a projector that confuses both. No code of it is
public. Ours: the four angles; that the rotation head reads the embeddings, and that turned images enter no other term;
`label` and `pair`, which are ACMR's (Wang et al. 2017); the modes of both heads, `reversal` by default, and the ramp of
both weights; every weight.

Turned copies touch the encoders through the term `rotation` alone. They go through the image encoder after the upright
images, in a pass of their own, in which batch normalisation normalises them by their own statistics and leaves its
running ones, those of evaluation, to the upright images. So with `rotation` at 0 the encoders learn what they learn
without turned copies, but for the numbers that dropout draws, while the rotation head goes on learning: it watches.
(With gradient checkpointing the layers run once more in the backward pass, and count the turned copies there.)

Features of upright pictures cannot be turned. On them, with `turns: false`, SSAL is ACMR.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, DataSpec, Features, Items, Loose
from cmr_lightning.discriminators import Discriminator, RotationClassifier
from cmr_lightning.embedding_model import MODALITIES, Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments import AlignmentFactory, ModalityAdversary
from cmr_lightning.game.game_log import OwnGame
from cmr_lightning.game.probe import drawn_pairs
from cmr_lightning.losses import AdversarialMode, adversarial_rotation, invariance_triplet, label_loss, rotation_loss
from cmr_lightning.ranges import NonNegative
from cmr_lightning.retriever import Labelled, Retriever, sum_of

QUARTER_TURNS = 4


class SSAL(Retriever):
    """Label prediction and a triplet constraint across modalities against a modality and a rotation classifier.

    Args:
        turns: Turn images and let the rotation head play, or watch where the term `rotation` weighs 0; without, there
            is no such term.
        rotation_discriminator: Class and arguments of the rotation head.
        rotation_mode: What the image encoder minimises against the rotation head.
        margin: mu >= 0, a distance of unscaled embeddings beyond which items of other classes do not count.
        negatives: lam >= 0, weight of the items of other classes within `pair`.
        alignment: Class and arguments of the adversary with the modality head; None for none.
        **kwargs: Options of `Retriever`.

    Raises:
        UserError: If images are to be turned and come as feature vectors of upright pictures, or are not and come at
            four rotations or `rotation` has a weight.
    """

    terms: ClassVar[Mapping[str, float]] = {"label": 1.0, "pair": 1.0, "rotation": 1.0}
    aligning_terms: ClassVar[tuple[str, ...]] = ("alignment", "rotation")
    points: ClassVar[tuple[str, ...]] = (*Retriever.points, "turned")

    def __init__(
        self,
        spec: DataSpec,
        turns: bool = True,
        rotation_discriminator: Discriminator = RotationClassifier,
        rotation_mode: AdversarialMode = "reversal",
        margin: NonNegative = 1.0,
        negatives: NonNegative = 0.05,
        weights: dict[str, NonNegative] | None = None,
        alignment: AlignmentFactory | None = ModalityAdversary,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            spec=_upright(spec) if turns else spec,
            weights=weights if turns else {"rotation": 0.0, **(weights or {})},
            alignment=alignment,
            **kwargs,
        )
        self.margin = margin
        self.negatives = negatives
        self.classifier = nn.Linear(self.dim, self.spec.num_classes)
        self.rotation_head = _head(rotation_discriminator, self.dim) if turns else None
        self.rotation_mode: AdversarialMode = rotation_mode
        if not turns:
            if self.weights.pop("rotation") != 0:
                raise UserError("model.weights.rotation is not 0, but model.turns is false; change one of the two.")
            self._check_shares()  # a term that is not there can have none
        self._turned: list[Tensor] = []

    def embed(self, batch: Batch) -> Embeddings:
        """Embed the pairs of a batch and, for the rotation head, images `turned` by 90 to 270°, `(N, 3, D)`.

        Where there are loose images, those are turned.
        """
        pairs = super().embed(batch)
        if self.rotation_head is None or batch.loose is not None:
            return pairs
        return Embeddings(*pairs.pair, {"turned": self._turned_points(batch.image)})

    def embed_loose(self, loose: Loose) -> dict[str, Tensor]:
        """Embed items that are no pairs and, for the rotation head, their images `turned`."""
        points = super().embed_loose(loose)
        return points if self.rotation_head is None else {**points, "turned": self._turned_points(loose.image)}

    def _turned_points(self, images: Tensor) -> Tensor:
        _, *turned = quarter_turns(images)
        with untracked(self.image_encoder):
            points = self.embed_images(torch.cat(turned)).chunk(len(turned))
        return torch.stack(points, dim=1)

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed upright images, also of those that come at four angles, as points `(N, D)`."""
        return super().embed_images(images[:, 0] if images.ndim == 3 else images)

    def opponents(self) -> list[nn.Module]:
        """List the discriminator of the alignment, if it is an adversary, and the rotation head."""
        return super().opponents() + ([] if self.rotation_head is None else [self.rotation_head])

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the term `pair`."""
        return {"pair": invariance_triplet(*embeddings.pair, self.related(batch), self.margin, self.negatives)}

    def label_losses(self, images: Labelled, texts: Labelled) -> dict[str, Tensor]:
        """Compute the term `label`."""
        return {"label": sum_of(label_loss(self.classifier(m.points), m.label) for m in (images, texts))}

    def alignment_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute `alignment` and, where images are turned, `rotation`."""
        losses = super().alignment_losses(batch, embeddings)
        if self.rotation_head is not None:
            logits = self.rotation_head(_all_angles(embeddings))
            losses["rotation"] = adversarial_rotation(logits, mode=self.rotation_mode)
        return losses

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the cross-entropies of the heads on detached embeddings."""
        losses = super().discriminator_losses(batch, embeddings)
        if self.rotation_head is not None:
            losses["rotation"] = rotation_loss(self.rotation_head(_all_angles(embeddings)))
        return losses

    # What the rotation head knows ------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Forget the images of the last validation."""
        super().on_validation_start()
        self._turned = []

    def validation_step(self, batch: Items, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed a batch of items, and those of the images at all angles that the rotation head is asked about."""
        super().validation_step(batch, batch_idx, dataloader_idx)
        if self.rotation_head is None or MODALITIES[dataloader_idx] == "text":
            return
        asked, _ = drawn_pairs(self.trainer.datamodule.part("val").owner)  # type: ignore[attr-defined]
        rows = torch.isin(batch.position, asked.to(batch.position.device))
        if rows.any():
            angles = [self.embed_images(images).detach().float() for images in quarter_turns(batch.content[rows])]
            self._turned.append(torch.stack(angles, dim=1))

    def own_games(self) -> dict[str, OwnGame]:
        """Ask the rotation head for the angles of the images of the last validation."""
        if self.rotation_head is None:
            return {}
        points = torch.cat(self._turned)
        return {"rotation": OwnGame(points, self.rotation_head(points.to(self.dtype)), self.rotation_mode)}


def _all_angles(embeddings: Embeddings) -> Tensor:
    """Return the points of images at the four angles, `(N, 4, D)`."""
    return torch.cat([embeddings.loose.image[:, None], embeddings.extra["turned"]], dim=1)


def _upright(spec: DataSpec) -> DataSpec:
    """Return what the encoder sees of one image at one angle."""
    if not isinstance(spec.image, Features):
        return spec
    if spec.image.turns != QUARTER_TURNS:
        raise UserError(
            "SSAL's rotation head needs pictures, or features extracted from pictures at four rotations "
            "(`extract --rotations=true`, then data.image.rotations=true), but the data set serves feature vectors of "
            "upright images, which cannot be turned; model.turns=false leaves the rotation head out, and what remains "
            "is ACMR."
        )
    return spec._replace(image=Features(spec.image.size))


def _head(rotation: Discriminator, dim: int) -> nn.Module:
    """Make the rotation head, which must know as many angles as there are."""
    head = rotation(dim)
    if isinstance(head, RotationClassifier) and head.angles != QUARTER_TURNS:
        raise UserError(
            f"model.rotation_discriminator tells {head.angles} angles apart, but images are turned by "
            f"{QUARTER_TURNS}; leave its angles out."
        )
    return head


@contextmanager
def untracked(network: nn.Module) -> Iterator[None]:
    """Let batch normalisation in a network leave its running statistics as they are inside, in training, too."""
    layers = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True


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
