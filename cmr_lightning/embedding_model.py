"""A LightningModule that embeds images and texts, or composed queries, into one space and is evaluated there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from cmr_lightning.batch import DataSpec, Features, Items, Task, Text
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Measurement, Protocol, measure, measure_composed, ranking_as
from cmr_lightning.parallel.gathering import Processes, gather_rows
from cmr_lightning.parallel.strategy import TwoPlayerDDP
from cmr_lightning.ranges import Checked

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, Modality] = ("image", "text")


@dataclass(frozen=True)
class Embeddings:
    """Images and texts in the common space; in training, row i of both is a pair.

    Attributes:
        image: Images `(N, D)`; in composed retrieval, in training, the targets of the queries.
        text: Texts `(P, D)`, in training P = N; in composed retrieval the queries.
        extra: What else a method's losses read, by name, with N rows each; and, where few pairs are known,
            `loose_image` and `loose_text`, see `Batch.loose`.

    Examples:
        >>> embeddings = Embeddings(torch.ones(2, 3), torch.zeros(2, 3), {"map": torch.ones(2, 3, 4, 4)})
        >>> [tuple(tensor.shape) for tensor in embeddings.tensors().values()]
        [(2, 3), (2, 3), (2, 3, 4, 4)]
    """

    image: Tensor
    text: Tensor
    extra: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """Images and texts."""
        return self.image, self.text

    @property
    def loose(self) -> Embeddings:
        """Images and texts of which nobody knows what belongs together: those of the pairs where all pairs are known.

        This is what may be compared across the modalities as a whole, whatever is paired.
        """
        if "loose_image" not in self.extra:
            return Embeddings(*self.pair)
        return Embeddings(self.extra["loose_image"], self.extra["loose_text"])

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        return {"image": self.image, "text": self.text, **self.extra}

    def with_tensors(self, tensors: Sequence[Tensor]) -> Embeddings:
        """Return embeddings of the same names with other tensors, in the order of `tensors()`."""
        image, text, *extra = tensors
        return Embeddings(image, text, dict(zip(self.extra, extra, strict=True)))

    def detach(self) -> Embeddings:
        """Return the same values without their graph."""
        return self.with_tensors([tensor.detach() for tensor in self.tensors().values()])


class EmbeddingModel(Checked, pl.LightningModule, ABC):
    """The base of all methods, trained by gradients or not: it embeds items and evaluates the embeddings.

    Validation and test loaders serve every item of one modality once, images first, then texts or composed queries.
    When all are embedded, they are ranked and measured under the protocols of the datamodule: in validation under those
    that share the ranking of the main protocol, in test under all. Results are logged as
    `val/<protocol id>/<direction or mean>`.

    Args:
        spec: What the model knows of the data; linked from the datamodule, never set by hand. A method that sees images
            at several rotations passes on what it sees of one of them.

    Attributes:
        measurement: Result of the last evaluation, None before the first.
        embedded: Embeddings of the last evaluation, None before the first.
        trained_on: What the model was trained on, as its checkpoints have it, None before the first of them.

    Raises:
        UserError: If the method is for other tasks, or training images come at several rotations.
    """

    automatic_optimization = False
    needs_gradients: ClassVar[bool] = True

    tasks: ClassVar[tuple[Task, ...]] = ("label", "instance")
    """Tasks that the method can be trained for."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        if spec.relevance not in self.tasks:
            raise UserError(_misplaced(type(self).__name__, spec.relevance))
        if isinstance(spec.image, Features) and spec.image.turns != 1:
            raise UserError(
                f"The data set serves each training image at {spec.image.turns} rotations, for which "
                f"{type(self).__name__}, as it is set, has no use; set data.image.rotations to false."
            )
        self.spec = spec
        self.measurement: Measurement | None = None
        self.embedded: Embeddings | None = None
        self.trained_on: dict[str, Any] | None = None
        self._collected: dict[Modality, list[Items[Tensor]]] = {"image": [], "text": []}

    def setup(self, stage: str) -> None:
        """Raise UserError if several devices are to train by a strategy other than `TwoPlayerDDP`."""
        if stage == "fit" and self.trainer.world_size > 1 and not isinstance(self.trainer.strategy, TwoPlayerDDP):
            raise UserError(
                f"trainer.strategy makes a {type(self.trainer.strategy).__name__}, under which the players would not "
                f"see the batch of all processes; set it to ddp."
            )

    @abstractmethod
    def embed_images(self, images: Tensor) -> Tensor:
        """Embed images, as `Batch.image`, as points `(N, D)`."""

    @abstractmethod
    def embed_texts(self, texts: Text) -> Tensor:
        """Embed texts, as `Batch.text`, as points `(N, D)`."""

    def embed_items(self, items: Items, modality: Modality) -> Tensor:
        """Embed items of one modality as points `(N, D)`."""
        return self.embed_images(items.content) if modality == "image" else self.embed_texts(items.content)

    def after_gathering(self) -> list[nn.Module]:
        """List the parts of the model that see the batch of all processes rather than of one."""
        return []

    def encoder_names(self) -> dict[str, str]:
        """Name what encodes each modality, for the record."""
        return {"image": type(self).__name__, "text": type(self).__name__}

    # Evaluation ------------------------------------------------------------------------------------------------------

    def validation_step(self, batch: Items, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed a batch of items, and keep them with their embeddings; loader 0 serves images, loader 1 texts."""
        modality = MODALITIES[dataloader_idx]
        embeddings = self.embed_items(batch, modality).detach().float()
        self._collected[modality].append(batch._replace(content=embeddings))

    test_step = validation_step

    def predict_step(self, batch: Items, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Embed a batch of items; loader 0 serves images, loader 1 texts."""
        return self.embed_items(batch, MODALITIES[dataloader_idx]).float()

    def on_validation_epoch_end(self) -> None:
        """Measure the validation part."""
        self.measurement = self._measure("val", measured_in_validation(self.protocols))
        if self.measurement is not None:
            self._log(self.measurement, "val")
            self.log("score", self.measurement.metrics[self.protocols[0].id]["mean"], prog_bar=True, logger=False)

    def on_test_epoch_end(self) -> None:
        """Measure the test part."""
        self.measurement = self._measure("test", self.protocols)
        if self.measurement is not None:
            self._log(self.measurement, "test")

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """Protocols of the datamodule, the main one first."""
        return self.trainer.datamodule.protocols  # type: ignore[attr-defined]

    def _measure(self, part: Literal["val", "test"], protocols: Sequence[Protocol]) -> Measurement | None:
        """Measure the collected items; None where a trial run or a sanity check saw a few of them only.

        Raises:
            UserError: If another run saw a few only.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        images, texts = (self._all_items(self._collected[modality]) for modality in MODALITIES)
        self._collected = {"image": [], "text": []}
        self.embedded = Embeddings(images.content, texts.content)
        whole = data.part(part)
        if (len(images.content), len(texts.content)) != (whole.num_images, whole.num_texts):
            if self.trainer.sanity_checking or self.trainer.fast_dev_run:  # type: ignore[attr-defined]
                return None
            raise UserError(
                f"Results are those of all items of a part, but {len(images.content)} of {whole.num_images} images and "
                f"{len(texts.content)} of {whole.num_texts} texts were embedded; leave trainer.limit_val_batches, "
                f"trainer.limit_test_batches and trainer.overfit_batches out."
            )
        with ranking_as(Processes(self.device) if self.trainer.world_size > 1 else None):
            if self.spec.relevance == "composed":
                return measure_composed(*self.embedded.pair, whole.compositions, protocols)
            queries = None if images.query is None or texts.query is None else (images.query, texts.query)
            return measure(
                images.content,
                texts.content,
                {"label": (images.label, texts.label), "instance": (images.image_id, texts.image_id)},
                protocols,
                queries=queries,
                judgements=data.relations(part) if part == "test" else None,
            )

    def _all_items(self, batches: Sequence[Items[Tensor]]) -> Items[Tensor]:
        """Return the items of all batches of all processes, each once, in the order of their part."""
        fields = [torch.cat(field) for field in zip(*batches, strict=True) if field[0] is not None]
        if self.trainer.world_size == 1:
            return Items(*fields)
        together = gather_rows(fields)
        position, order = Items(*together).position.sort(stable=True)
        order = order[position.diff(prepend=position[:1] - 1) > 0]
        return Items(*(field[order] for field in together))

    def _log(self, measurement: Measurement, stage: str) -> None:
        values = {
            f"{stage}/{protocol}/{direction}": value
            for protocol, directions in measurement.metrics.items()
            for direction, value in directions.items()
        }
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        self.log_dict(values, logger=bool(self.loggers) and not fitting)
        if fitting and not self.trainer.sanity_checking:
            for logger in self.loggers:  # by hand, so that the x-axis counts generator updates
                logger.log_metrics({**values, "epoch": self.current_epoch}, step=self.global_step)

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which method the weights belong to, what they were trained on, and the main protocol."""
        checkpoint["method"] = type(self).__name__
        checkpoint["protocol"] = self.protocols[0].id
        if self.trained_on is None:  # the same in every checkpoint, and takes long where parts are large
            self.trained_on = self.trainer.datamodule.trained_on().as_plain()  # type: ignore[attr-defined]
        checkpoint["trained_on"] = self.trained_on

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *args: Any, **kwargs: Any) -> Self:
        """Load the weights of a checkpoint into a model that is built by `kwargs`, as Lightning does.

        Raises:
            UserError: If there is no `spec` among them.
        """
        if "spec" not in kwargs:
            raise UserError(
                f"{cls.__name__}.load_from_checkpoint needs spec and the encoders, which a checkpoint only names; give "
                f"them, or use cmr_lightning.load({str(checkpoint_path)!r}), whose `module` is this model."
            )
        return super().load_from_checkpoint(checkpoint_path, *args, **kwargs)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the weights of another method, or of other sizes.

        Raises:
            UserError: If the checkpoint was written by another method, or under a config that made another model.
        """
        method = checkpoint.get("method", "something else")
        if method != type(self).__name__:
            raise UserError(
                f"The checkpoint holds the weights of {method}, but the config names {type(self).__name__}; give the "
                f"checkpoint of a {type(self).__name__} run, or the config of the run that wrote the checkpoint."
            )
        theirs, ours = (
            {name: tuple(t.shape) for name, t in of.items()} for of in (checkpoint["state_dict"], self.state_dict())
        )
        differing = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
        if differing:
            name = differing[0]
            raise UserError(
                f"The checkpoint does not fit the config: {name} has the shape {theirs.get(name)} in the checkpoint "
                f"and {ours.get(name)} in the model, and so on, {len(differing)} of {len(ours)} tensors; give the "
                f"config of the run that wrote the checkpoint."
            )


def measured_in_validation(protocols: Sequence[Protocol]) -> list[Protocol]:
    """Select the protocols that share the ranking of the first, the main one."""
    return [protocol for protocol in protocols if protocol.ranking == protocols[0].ranking]


def validation_scores(protocols: Sequence[Protocol]) -> dict[str, Literal["max", "min"]]:
    """Name the scores that validation logs, and say whether a larger (`max`) or a smaller one is better."""
    return {
        f"val/{protocol.id}/{direction}": "max" if protocol.higher_is_better else "min"
        for protocol in measured_in_validation(protocols)
        for direction in (*protocol.directions, "mean", *(["sum"] if protocol.metric == "rsum" else []))
    }


def _misplaced(method: str, task: Task) -> str:
    if task == "composed":
        return (
            f"The data set asks composed queries, images with a text that says what to change, but {method} compares "
            f"images with texts; set model to a composed method such as TIRG."
        )
    return (
        f"{method} answers composed queries, images with a text that says what to change, but the data set has pairs "
        f"of images and texts; set data to a composed data set such as ShapesComposed."
    )
