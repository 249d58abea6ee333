"""A LightningModule that embeds images and texts, or composed queries, into one space and is measured there."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from cmr_lightning.batch import ComposedQuery, DataSpec, Features, Items, Task, Text
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Measurement, Protocol, measure, measure_composed, ranking_as
from cmr_lightning.parallel.gathering import Processes, gather_rows
from cmr_lightning.parallel.strategy import TwoPlayerDDP

Modality = Literal["image", "text"]
MODALITIES: tuple[Modality, Modality] = ("image", "text")


class Embeddings(NamedTuple):
    """Images `(N, D)` and texts `(P, D)` in the common space; in training row i of both is a pair and N = P.

    In composed retrieval the texts are the queries, and in training the images their targets.
    """

    image: Tensor
    text: Tensor

    def tensors(self) -> tuple[Tensor, ...]:
        """All that belongs to a batch, row by row, in the order in which the constructor takes it."""
        return tuple(self)

    def sources(self) -> tuple[Tensor, ...]:
        """The tensors of images and of texts at which a loss is asked for its gradient."""
        return tuple(self)

    def detach(self) -> Self:
        """The same values, cut off from the graph."""
        return type(self)(*(tensor.detach() for tensor in self.tensors()))


class EmbeddingModel(pl.LightningModule, ABC):
    """What is common to all methods, trained by gradients or not: evaluation.

    Validation and test loaders serve every item of one modality once, images first, then texts or composed queries.
    When all are embedded, they are ranked and measured under the protocols of the datamodule: in validation under those
    that share the ranking of the main protocol, in test under all. Results are logged as
    `val/<protocol id>/<direction or mean>`.

    Args:
        spec: What the model knows of the data; a method that sees images at several rotations passes on what it sees of
            one of them.

    Attributes:
        spec: What the model knows of the data.
        measurement: What the last evaluation measured, None before the first.
        embedded: What the last evaluation embedded, None before the first.

    Raises:
        UserError: If the method is for other tasks, or training images come at several rotations.
    """

    automatic_optimization = False
    needs_gradients: ClassVar[bool] = True

    tasks: ClassVar[tuple[Task, ...]] = ("label", "instance")
    """What the method can be asked for."""

    def __init__(self, spec: DataSpec) -> None:
        super().__init__()
        if spec.relevance not in self.tasks:
            raise UserError(_misplaced(type(self).__name__, spec.relevance))
        if isinstance(spec.image, Features) and spec.image.turns != 1:
            raise UserError(
                f"The data set serves each training image at {spec.image.turns} rotations, for which "
                f"{type(self).__name__}, with its weights as they are, has no use; set data.image.rotations to false."
            )
        self.spec = spec
        self.measurement: Measurement | None = None
        self.embedded: Embeddings | None = None
        self._collected: dict[Modality, list[Items]] = {"image": [], "text": []}

    def setup(self, stage: str) -> None:
        """Refuse to train on several devices in another way than `TwoPlayerDDP`.

        Raises:
            UserError: If `trainer.strategy` is another one.
        """
        if stage == "fit" and self.trainer.world_size > 1 and not isinstance(self.trainer.strategy, TwoPlayerDDP):
            raise UserError(
                f"trainer.strategy makes a {type(self.trainer.strategy).__name__}, under which the players would not "
                f"see the batch of all processes; set it to ddp."
            )

    def __setattr__(self, name: str, value: Any) -> None:
        """As torch does, without its long search where a plain attribute becomes text or None.

        Lightning notes in one which hook is running, fifty times an update.
        """
        if name in self.__dict__ and (value is None or isinstance(value, str)):
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    @abstractmethod
    def embed_images(self, images: Tensor) -> Tensor:
        """Images, as `Batch.image`, to points `(N, D)` of the common space."""

    @abstractmethod
    def embed_texts(self, texts: Text) -> Tensor:
        """Texts, as `Batch.text`, to points `(N, D)` of the common space."""

    def after_gathering(self) -> list[nn.Module]:
        """The parts of the model that see the batch of all processes, not of one."""
        return []

    def encoder_names(self) -> dict[str, str]:
        """What encodes each modality, for the record."""
        return {"image": type(self).__name__, "text": type(self).__name__}

    def embed_items(self, items: Items, modality: Modality) -> Tensor:
        """Items of one modality to points `(N, D)`."""
        if modality == "image":
            assert isinstance(items.content, Tensor)
            return self.embed_images(items.content)
        assert not isinstance(items.content, ComposedQuery)
        return self.embed_texts(items.content)

    def validation_step(self, batch: Items, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed a batch of items; loader 0 serves images, loader 1 texts."""
        self._collect(batch, MODALITIES[dataloader_idx])

    def test_step(self, batch: Items, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Embed a batch of items; loader 0 serves images, loader 1 texts."""
        self._collect(batch, MODALITIES[dataloader_idx])

    def predict_step(self, batch: Items, batch_idx: int, dataloader_idx: int = 0) -> Tensor:
        """Embed a batch of items; loader 0 serves images, loader 1 texts."""
        return self.embed_items(batch, MODALITIES[dataloader_idx]).float()

    def on_validation_epoch_end(self) -> None:
        """Measure the validation part."""
        if self._measure("val", measured_in_validation(self.protocols)):
            self._log_measurement("val", progress_bar=f"{self.protocols[0].id}/mean")

    def on_test_epoch_end(self) -> None:
        """Measure the test part."""
        if self._measure("test", self.protocols):
            self._log_measurement("test")

    @property
    def protocols(self) -> tuple[Protocol, ...]:
        """What the datamodule is measured under."""
        return self.trainer.datamodule.protocols  # type: ignore[attr-defined]

    def _collect(self, items: Items, modality: Modality) -> None:
        """Keep the items with their embeddings in place of their content."""
        embeddings = self.embed_items(items, modality).detach().float()
        self._collected[modality].append(items._replace(content=embeddings))

    def _measure(self, part: Literal["val", "test"], protocols: Sequence[Protocol]) -> bool:
        """Measure what was collected; False where a sanity check saw too little of composed data to rank it."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        embedded, labels, ids, queries = {}, {}, {}, {}
        for modality, batches in self._collected.items():
            items = self._all_items(batches)
            embedded[modality] = cast(Tensor, items.content)
            labels[modality], ids[modality] = items.label, items.image_id
            if items.query is not None:
                queries[modality] = items.query
            batches.clear()
        self.embedded = Embeddings(embedded["image"], embedded["text"])
        with ranking_as(Processes(self.device) if self.trainer.world_size > 1 else None):
            if self.spec.relevance == "composed":
                return self._measure_composed(data.part(part), protocols)
            self.measurement = measure(
                self.embedded.image,
                self.embedded.text,
                {"label": (labels["image"], labels["text"]), "instance": (ids["image"], ids["text"])},
                protocols,
                queries=(queries["image"], queries["text"]) if queries else None,
                judgements=data.relations(part) if part == "test" else None,
            )
        return True

    def _all_items(self, batches: Sequence[Items]) -> Items:
        """The items of all batches of all processes, each once, in the order of their part."""
        fields = [torch.cat(field) for field in zip(*batches, strict=True) if field[0] is not None]
        if self.trainer.world_size == 1:
            return Items(*fields)
        together = gather_rows(fields)
        position, order = Items(*together).position.sort(stable=True)
        order = order[position.diff(prepend=position[:1] - 1) > 0]
        return Items(*(field[order] for field in together))

    def _measure_composed(self, part: Any, protocols: Sequence[Protocol]) -> bool:
        assert self.embedded is not None
        images, queries = self.embedded
        if (len(images), len(queries)) != (part.num_images, part.num_texts):
            if self.trainer.sanity_checking:
                return False
            raise UserError(
                f"Composed queries are measured among all images, but {len(images)} of {part.num_images} images and "
                f"{len(queries)} of {part.num_texts} queries were embedded; leave trainer.limit_val_batches and "
                f"trainer.limit_test_batches at 1.0."
            )
        self.measurement = measure_composed(images, queries, part.compositions, protocols)
        return True

    def _log_measurement(self, stage: str, progress_bar: str | None = None) -> None:
        assert self.measurement is not None
        values = {
            f"{stage}/{protocol}/{direction}": value
            for protocol, directions in self.measurement.metrics.items()
            for direction, value in directions.items()
        }
        fitting = self.trainer.state.fn == TrainerFn.FITTING
        self.log_dict(values, logger=bool(self.loggers) and not fitting)
        if fitting and not self.trainer.sanity_checking:
            for logger in self.loggers:  # by hand, so that the x-axis counts generator updates
                logger.log_metrics({**values, "epoch": self.current_epoch}, step=self.global_step)
        if progress_bar is not None:
            self.log("score", values[f"{stage}/{progress_bar}"], prog_bar=True, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which method the weights belong to."""
        checkpoint["method"] = type(self).__name__

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
    """The protocols that share the ranking of the first, the main one."""
    return [protocol for protocol in protocols if protocol.ranking == protocols[0].ranking]


def validation_scores(protocols: Sequence[Protocol]) -> dict[str, Literal["max", "min"]]:
    """Names under which validation logs its scores, and whether a larger or a smaller one is better."""
    return {
        f"val/{protocol.id}/{direction}": "max" if protocol.higher_is_better else "min"
        for protocol in measured_in_validation(protocols)
        for direction in (*protocol.directions, "mean", *(["sum"] if protocol.metric == "rsum" else []))
    }


def _misplaced(method: str, task: Task) -> str:
    """Why a method has nothing to do with a data set."""
    if task == "composed":
        return (
            f"The data set asks composed queries, images with a text that says what to change, but {method} compares "
            f"images with texts; set model to a composed method such as TIRG."
        )
    return (
        f"{method} answers composed queries, images with a text that says what to change, but the data set has pairs "
        f"of images and texts; set data to a composed data set such as ShapesComposed."
    )
