"""A retriever: what a method says of its encoders, its adversary and its losses."""

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, DataSpec, Features, Loose, Pixels, Text, Words, one_hot
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.encoders.backbone import BackboneEncoder
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments import Adversary, AlignmentFactory, Classes
from cmr_lightning.game.turns import TwoPlayerModel
from cmr_lightning.losses import AdversarialMode
from cmr_lightning.losses.relations import own_pairs, same_class, same_image
from cmr_lightning.parallel.gathering import gather_batch
from cmr_lightning.ranges import Name, NonNegative, Width

ImageEncoder = Callable[[Features | Pixels, int], nn.Module]
"""Makes an image encoder from the form of its input and the size D of the common space: a module that embeds feature
vectors `(N, size)`, or uint8 pictures `(N, 3, size, size)` of values 0 to 255, which it has to scale itself, as points
`(N, D)`."""

TextEncoder = Callable[[Features | Words, int], nn.Module]
"""Makes a text encoder from the form of its input and the size D of the common space: a module that embeds feature
vectors `(N, size)` or `Tokens` as points `(N, D)`."""

_OF_BYTES = re.compile("unsigned char|uint8|Byte")  # how torch says in its errors that it was given bytes


class Labelled(NamedTuple):
    """Items of one modality whose labels are known.

    Attributes:
        points: Their points in the common space, `(N, D)`.
        label: Their labels, as `Batch.label`, or the classes that a method makes of them.
        kin: What relates them: their labels in the data or, on instance-level data, their images' ids.
    """

    points: Tensor
    label: Tensor
    kin: Tensor

    @property
    def same(self) -> Tensor:
        """Which of them are of one class or, on instance-level data, of one image, `(N, N)` bool."""
        return same_class(self.kin, self.kin)


class Retriever(TwoPlayerModel):
    """Two encoders, and what pulls their modalities together: an adversary, another alignment, or nothing.

    A method names its loss terms with their default weights in `terms`. It computes those of pairs in
    `generator_losses`, and those of items by themselves, such as classification, in `label_losses`, which also sees the
    items whose label is known and whose partner is not. The term `alignment` comes beside them where there is one.
    Where a method shows the alignment something other than its embeddings, it overrides `aligned`; where it has a
    second adversary of its own, `opponents` and `discriminator_losses`. Where several processes train, each encodes its
    share of the batch, and all compute the losses of the whole: in-batch negatives, items of one class and what is
    aligned are those of all.

    Args:
        spec: What the model knows of the data; linked from the datamodule, never set by hand.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        dim: Size D of the common space.
        alignment: Class and arguments of the adversary, or of another alignment; None for none.
        weights: Weights of the loss terms that differ from the method's defaults, `alignment` among them with 1; 0
            takes a term out. An adversary of weight 0 goes on learning: it watches.
        compile: Backend of torch.compile for both encoders, such as `inductor`; None not to compile.
        **kwargs: Options of the game, see `TwoPlayerModel`.

    Raises:
        UserError: If a weight or a share names no term of the method, or the alignment needs classes that there are
            not.
    """

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        dim: Width = 200,
        alignment: AlignmentFactory | None = None,
        weights: dict[str, NonNegative] | None = None,
        compile: Name | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.dim = dim
        self.image_encoder = self._made("image_encoder", image_encoder)(spec.image, dim)
        self.text_encoder = self._made("text_encoder", text_encoder)(spec.text, dim)
        classes = spec.num_classes if spec.relevance == "label" else 0
        self.alignment = None if alignment is None else alignment(dim, classes)
        self.weights = self._complete(weights or {})
        self._check_shares()
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
        complete = dict(self.terms) if self.alignment is None else {**self.terms, "alignment": 1.0}
        if unknown := sorted(set(weights) - set(complete)):
            raise UserError(
                f"model.weights names {', '.join(unknown)}, which {self._name} does not have; its terms are "
                f"{', '.join(complete)}."
            )
        complete |= weights
        if not any(complete.values()):
            raise UserError(
                f"model.weights are all 0, so nothing would be learned; give one of {', '.join(complete)} a weight."
            )
        return complete

    def _check_shares(self) -> None:
        possible = [term for term in self.aligning_terms if term in self.weights]
        for key, values in (("shares", self.balance.shares), ("caps", self.caps)):
            if unknown := sorted(set(values) - set(possible)):
                of = f"has {', '.join(possible)}" if possible else "has none"
                raise UserError(
                    f"model.{key} names {', '.join(unknown)}, but is for what pulls the modalities together beside a "
                    f"method's own terms, and {self._name} {of}."
                )

    @property
    def _name(self) -> str:
        return f"{type(self).__name__} without an alignment" if self.alignment is None else type(self).__name__

    # Losses ----------------------------------------------------------------------------------------------------------

    def label_losses(self, images: Labelled, texts: Labelled) -> dict[str, Tensor]:
        """Compute the terms of images and of texts by themselves, whose labels are known; by default there are none."""
        return {}

    def item_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute `label_losses` on all items of a batch whose labels are known."""
        if not self.labels_told:
            return {}
        target, by_label = self.targets(batch), self.spec.relevance == "label"
        if batch.loose is None or not by_label:  # elsewhere the class of a loose item would be its link
            kin = batch.label if by_label else batch.image_id
            return self.label_losses(*(Labelled(points, target, kin) for points in embeddings.pair))
        both = zip(embeddings.pair, embeddings.loose.pair, _labels(batch), strict=True)
        return self.label_losses(*(_told(points, target, loose, label) for points, loose, label in both))

    @property
    def labels_told(self) -> bool:
        """Whether the training pairs have labels, or on instance-level data need none."""
        return self.spec.relevance != "label" or any(self.spec.class_counts)

    def targets(self, batch: Batch) -> Tensor:
        """Return the labels of a batch's pairs by which `label_losses` classifies: those of the data."""
        return batch.label

    def alignment_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the term `alignment`, if there is one, from the embeddings and classes of a batch."""
        if self.alignment is None:
            return {}
        items = embeddings.loose
        return {"alignment": self.alignment(*self._placed(items), self.classes(items, _labels(batch)))}

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute what the adversary's discriminator minimises on detached embeddings; nothing without an adversary."""
        if not isinstance(self.alignment, Adversary):
            return {}
        items = embeddings.loose
        return self.alignment.discriminator_losses(*self._placed(items), self.classes(items, _labels(batch)))

    def discriminator_state(self, embeddings: Embeddings, labels: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Measure the adversary's discriminator on detached embeddings, of images and texts with their labels."""
        if not isinstance(self.alignment, Adversary):
            return {}
        return self.alignment.state(*self._placed(embeddings), self.classes(embeddings, labels))

    @property
    def adversarial_mode(self) -> AdversarialMode | None:
        """What the encoders minimise against a classifier of modalities; None against a critic, or where none plays."""
        return self.alignment.mode if isinstance(self.alignment, Adversary) else None

    def aligned(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        """Return the points of images `(N, D)` and texts `(M, D)` that the alignment compares: the embeddings."""
        return embeddings.pair

    def _placed(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        if self.alignment is None:
            return self.aligned(embeddings)
        images, texts = self.aligned(embeddings)
        return self.alignment.placed(images), self.alignment.placed(texts)

    def classes(self, embeddings: Embeddings, labels: tuple[Tensor, Tensor]) -> Classes | None:
        """Return the classes of images and texts for an alignment that takes them: their labels, or predictions."""
        source = None if self.alignment is None else self.alignment.class_source
        if source == "labels":
            images, texts = (_parts(one_hot(label, self.spec.num_classes)) for label in labels)
            return images, texts
        if source == "predicted":
            images, texts = (self.predicted_classes(points).detach() for points in embeddings.pair)
            return images, texts
        return None

    def predicted_classes(self, points: Tensor) -> Tensor:
        """Predict the classes of points `(N, D)` by the method's classifier of labels, `(N, C)` of sum 1.

        Raises:
            UserError: If the method has none.
        """
        classifier = getattr(self, "classifier", None)
        if classifier is None:
            raise UserError(
                f"{type(self).__name__} has no classifier of labels; set model.alignment.init_args.classes to labels."
            )
        return classifier(points).softmax(dim=1)

    def opponents(self) -> list[nn.Module]:
        """List the adversary's discriminator, if there is one; a method adds those of adversaries of its own."""
        return [self.alignment.discriminator] if isinstance(self.alignment, Adversary) else []

    def related(self, batch: Batch) -> Tensor:
        """Mark the rows of a batch that are relevant to each other, `(N, N)` bool: these are never negatives."""
        if self.spec.relevance == "label":
            same = same_class(batch.label, batch.label)
            return same if self.labels_told else same | own_pairs(same)
        return same_image(batch.image_id, batch.image_id)

    # Embedding -------------------------------------------------------------------------------------------------------

    def embed(self, batch: Batch) -> Embeddings:
        """Embed the pairs of a batch."""
        return Embeddings(self.embed_images(batch.image), self.embed_texts(batch.text))

    def embed_loose(self, loose: Loose) -> dict[str, Tensor]:
        """Embed items that are no pairs, as `loose_image` and `loose_text`, both `(M, D)`."""
        return {"loose_image": self.embed_images(loose.image), "loose_text": self.embed_texts(loose.text)}

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
        loose = batch.loose
        if loose is None:
            embeddings = self.embed(batch)
        else:
            points = self.embed_loose(loose)
            none = Embeddings(points["loose_image"][:0], points["loose_text"][:0])
            embeddings = self.embed(batch) if len(batch.label) else none  # encoders may take no empty batch
            embeddings = replace(embeddings, extra={**embeddings.extra, **points})
        if self.trainer.world_size == 1:
            return batch, embeddings
        relations = [batch.label, batch.image_id] + ([] if loose is None else [loose.image_label, loose.text_label])
        gathered = gather_batch((*relations, *embeddings.tensors().values()))
        label, image_id, *labels = gathered[: len(relations)]
        if loose is not None:
            loose = loose._replace(image_label=labels[0], text_label=labels[1])
        batch = batch._replace(label=label, image_id=image_id, loose=loose)
        return batch, embeddings.with_tensors(gathered[len(relations) :])

    def after_gathering(self) -> list[nn.Module]:
        """List the discriminators; a method adds the other networks that its terms are computed with."""
        return self.opponents()

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

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note also by which arguments the encoders are built where the files that they started from are not."""
        super().on_save_checkpoint(checkpoint)
        encoders = {"image_encoder": self.image_encoder, "text_encoder": self.text_encoder}
        checkpoint["encoders"] = {name: getattr(of, "without_files", dict)() for name, of in encoders.items()}

    def encoder_names(self) -> dict[str, str]:
        """Name the classes of the encoders."""
        return {"image": type(self.image_encoder).__name__, "text": type(self.text_encoder).__name__}


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """Add terms, such as those of two modalities, in their order."""
    return reduce(add, terms)


def _told(points: Tensor, target: Tensor, loose: Tensor, label: Tensor) -> Labelled:
    """Put items of pairs and loose ones together, without those whose class index is not told."""
    if label.ndim == 1:
        loose, label = loose[label >= 0], label[label >= 0]
    label = torch.cat([target, label])
    return Labelled(torch.cat([points, loose]), label, label)


def _labels(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return the labels of the images and texts of `Embeddings.loose`."""
    return (batch.label, batch.label) if batch.loose is None else (batch.loose.image_label, batch.loose.text_label)


def _parts(labels: Tensor) -> Tensor:
    """Scale labels `(N, C)` so that several of one item are equal parts of 1; an item without any stays at 0."""
    return labels / labels.sum(1, keepdim=True).clamp_min(1)
