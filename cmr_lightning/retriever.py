"""A retriever: what a method says of its encoders, its adversary and its losses."""

import re
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, DataSpec, Features, Pixels, Text, Words
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.encoders.backbone import BackboneEncoder
from cmr_lightning.errors import UserError
from cmr_lightning.game.turns import TwoPlayerModel
from cmr_lightning.losses import AdversarialMode, adversarial_modality, binary_entropy, modality_loss
from cmr_lightning.losses.relations import same_class, same_image
from cmr_lightning.parallel.gathering import gather_batch
from cmr_lightning.ranges import Name, NonNegative, Width

ImageEncoder = Callable[[Features | Pixels, int], nn.Module]
"""Makes an image encoder from the form of its input and the size D of the common space: a module that embeds feature
vectors `(N, size)`, or uint8 pictures `(N, 3, size, size)` of values 0 to 255, which it has to scale itself, as points
`(N, D)`."""

TextEncoder = Callable[[Features | Words, int], nn.Module]
"""Makes a text encoder from the form of its input and the size D of the common space: a module that embeds feature
vectors `(N, size)` or `Tokens` as points `(N, D)`."""

Discriminator = Callable[[int], nn.Module]
"""Makes a discriminator from the size of the common space."""

_OF_BYTES = re.compile("unsigned char|uint8|Byte")  # how torch says in its errors that it was given bytes


class Retriever(TwoPlayerModel):
    """Two encoders, the generator, against a discriminator that tries to tell the modalities apart.

    A method names its loss terms with their default weights in `terms` and computes them in `generator_losses`. If it
    plays against something other than a modality classifier, it overrides `discriminator_losses`, `mislead` and, where
    the discriminator does not see the embeddings as they are, `discriminate`. Where several processes train, each
    encodes its share of the batch, and all compute the losses of the whole: in-batch negatives, items of one class and
    what the discriminator sees are those of all.

    Args:
        spec: What the model knows of the data; linked from the datamodule, never set by hand.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        dim: Size D of the common space.
        discriminator: Class and arguments of the modality classifier; None for a method without an adversary.
        adversary: What the generator minimises against the discriminator: `reversal`, `flipped` or `entropy`.
        weights: Weights of the loss terms that differ from the method's defaults; 0 takes a term out.
        compile: Backend of torch.compile for both encoders, such as `inductor`; None not to compile.
        **kwargs: Options of the game, see `TwoPlayerModel`.

    Raises:
        UserError: If a weight names no term of the method, or a term needs a discriminator and there is none.
    """

    discriminator_output: ClassVar[Literal["logit", "score"]] = "logit"
    """Whether `discriminate` returns a logit, of which accuracy and entropy are logged, or a critic's score."""

    stochastic_losses: ClassVar[tuple[str, ...]] = ()
    """Losses of either player that draw random numbers, so that two computations of them differ."""

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        dim: Width = 200,
        discriminator: Discriminator | None = None,
        adversary: AdversarialMode = "reversal",
        weights: dict[str, NonNegative] | None = None,
        compile: Name | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.dim = dim
        self.image_encoder = self._made("image_encoder", image_encoder)(spec.image, dim)
        self.text_encoder = self._made("text_encoder", text_encoder)(spec.text, dim)
        self.discriminator = None if discriminator is None else discriminator(dim)
        self.adversary = adversary
        self.weights = self._complete(weights or {})
        self.compile_with = compile
        if compile is not None and compile not in torch.compiler.list_backends(exclude_tags=()):
            raise UserError(f"model.compile is {compile}, but torch has {', '.join(torch.compiler.list_backends())}.")

    def _made(self, name: str, factory: Callable[[Any, int], nn.Module]) -> Callable[[Any, int], nn.Module]:
        """Refuse an encoder that is only its settings, as jsonargparse leaves it where a parameter has no type."""
        if not callable(factory):
            raise UserError(
                f"{type(self).__name__} is given {name} as it stands in the config; annotate the parameter in its "
                f"__init__, `{name}: {name.title().replace('_', '')}` from cmr_lightning.retriever, or leave it to "
                f"**kwargs."
            )
        return factory

    def _complete(self, weights: dict[str, float]) -> dict[str, float]:
        if not hasattr(self, "terms"):
            raise UserError(f"{type(self).__name__} names no loss terms; set `terms = {{name: weight}}` in the class.")
        unknown = sorted(set(weights) - set(self.terms))
        if unknown:
            raise UserError(
                f"model.weights names {', '.join(unknown)}, which {type(self).__name__} does not have; its terms are "
                f"{', '.join(self.terms)}."
            )
        complete = {**self.terms, **weights}
        if not any(complete.values()):
            raise UserError(
                f"model.weights are all 0, so nothing would be learned; give one of {', '.join(self.terms)} a weight."
            )
        played = [term for term in self.adversarial_terms if complete.get(term, 0) != 0]
        if played and self.discriminator is None:
            raise UserError(
                f"{type(self).__name__} gives {', '.join(played)} a weight but has no adversary; set "
                f"model.discriminator, or the weight to 0."
            )
        return complete

    # Losses ----------------------------------------------------------------------------------------------------------

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute what the discriminator minimises on detached embeddings: the modality cross-entropy."""
        return {"modality": modality_loss(*self.modality_logits(embeddings))}

    def adversarial_loss(self, embeddings: Embeddings) -> Tensor:
        """Compute what the generator minimises to mislead the discriminator; 0 where there is none."""
        if self.discriminator is None:
            return embeddings.image.new_zeros(())
        return self.mislead(*self.modality_logits(embeddings))

    def mislead(self, images: Tensor, texts: Tensor) -> Tensor:
        """Compute the generator's loss in the mode `adversary` from logits `(N,)` of images and of texts."""
        return adversarial_modality(images, texts, mode=self.adversary)

    def modality_logits(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        """Return the discriminator's output `(N,)` for images and for texts."""
        return self.discriminate(embeddings.image), self.discriminate(embeddings.text)

    def discriminate(self, points: Tensor) -> Tensor:
        """Return the discriminator's output `(N,)` for points `(N, D)`; a positive logit means image."""
        return self.opponent(points)

    def discriminator_state(self, embeddings: Embeddings) -> dict[str, Tensor]:
        """Measure accuracy and mean entropy of a classifier, or the difference of a critic's mean scores."""
        images, texts = self.modality_logits(embeddings)
        if self.discriminator_output == "score":
            return {"critic_gap": images.mean() - texts.mean()}
        return {
            "discriminator_accuracy": torch.cat([images > 0, texts < 0]).float().mean(),
            "discriminator_entropy": binary_entropy(torch.cat([images, texts])).mean(),
        }

    @property
    def opponent(self) -> nn.Module:
        """The discriminator, or UserError if there is none."""
        if self.discriminator is None:
            raise UserError(f"{type(self).__name__} has no adversary; set model.discriminator.")
        return self.discriminator

    def related(self, batch: Batch) -> Tensor:
        """Mark the rows of a batch that are relevant to each other, `(N, N)` bool: these are never negatives."""
        if self.spec.relevance == "label":
            return same_class(batch.label, batch.label)
        return same_image(batch.image_id, batch.image_id)

    # Embedding -------------------------------------------------------------------------------------------------------

    def embed(self, batch: Batch) -> Embeddings:
        """Embed the pairs of a batch."""
        return Embeddings(self.embed_images(batch.image), self.embed_texts(batch.text))

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images, as `Batch.image`, as points `(N, D)`."""
        return self._encode(self.image_encoder, images)

    def embed_texts(self, texts: Text) -> Tensor:
        """Embed texts, as `Batch.text`, as points `(N, D)`."""
        return self._encode(self.text_encoder, texts)

    def _encode(self, encoder: nn.Module, content: Text) -> Tensor:
        """Embed content as points `(N, D)`.

        Raises:
            UserError: If the encoder does not do what `ImageEncoder` or `TextEncoder` says.
        """
        name = type(encoder).__name__
        try:
            points = encoder(content)
        except RuntimeError as error:
            if isinstance(content, Tensor) and content.dtype == torch.uint8 and _OF_BYTES.search(str(error)):
                raise UserError(
                    f"{name} computes with pictures as they come, uint8 {tuple(content.shape)} of values 0 to 255; let "
                    f"its forward begin with `pictures.float() / 255` ({str(error).splitlines()[0]})."
                ) from error
            raise
        if points.shape[-1] != self.dim:
            raise UserError(
                f"{name} returns points {tuple(points.shape)}, but must return (N, {self.dim}), as model.dim."
            )
        return points

    def embed_batch(self, batch: Batch) -> tuple[Batch, Embeddings]:
        """Embed a batch; where several processes train, return what relates their rows, and all embeddings.

        Images and texts themselves are not gathered: what reads them belongs in `embed`.
        """
        embeddings = self.embed(batch)
        if self.trainer.world_size == 1:
            return batch, embeddings
        label, image_id, *tensors = gather_batch((batch.label, batch.image_id, *embeddings.tensors().values()))
        return batch._replace(label=label, image_id=image_id), embeddings.with_tensors(tensors)

    def after_gathering(self) -> list[nn.Module]:
        """List the discriminator; a method adds the other networks that its terms are computed with."""
        return [] if self.discriminator is None else [self.discriminator]

    # Parts -----------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Compile the encoders, now that the weights are where they will stay; their names do not change."""
        super().setup(stage)
        if self.compile_with is not None:
            for encoder in (self.image_encoder, self.text_encoder):
                encoder.compile(backend=self.compile_with)

    def lr_scales(self) -> dict[nn.Parameter, float]:
        """Map the parameters of pretrained backbones to their multiple of the generator's learning rate."""
        scales: dict[nn.Parameter, float] = {}
        for encoder in (self.image_encoder, self.text_encoder):
            if isinstance(encoder, BackboneEncoder):
                scales |= encoder.lr_scales()
        return scales

    def encoder_names(self) -> dict[str, str]:
        """Name the classes of the encoders."""
        return {"image": type(self.image_encoder).__name__, "text": type(self.text_encoder).__name__}
