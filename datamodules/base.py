"""The base of every data set: parts, spec, protocols, loaders, and the wall in front of the test part."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from cmr_lightning.batch import Batch, DataSpec, Features, Task, Tokens, Words
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Judgements, Protocol
from cmr_lightning.ranges import Checked, Count
from datamodules.facts import Facts
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.content import fingerprints, form, take
from datamodules.reading.loaders import EpochOf, ItemLoader, PairLoader, Part, item_loaders
from datamodules.reading.partly_paired import PartlyPairedLoader
from datamodules.reading.regime import Regime
from datamodules.trained_on import TrainedOn, Use, numbers_of

PartName = Literal["train", "val", "test"]


@dataclass(frozen=True)
class Split:
    """An assignment of items to parts: its usual name, e.g. `official 2173/693`, and its `split_checksum`."""

    name: str
    checksum: str


class Inputs(NamedTuple):
    """What makes the input of encoders from pictures and from texts; None where nothing does."""

    image: ImageInput | None
    text: TextInput | None


def split_checksum(parts: dict[str, list[str]]) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 over part names and item ids, in their order."""
    digest = hashlib.sha256()
    for part, ids in sorted(parts.items()):
        digest.update("\n".join([part, *ids, ""]).encode())
    return digest.hexdigest()[:16]


class CrossModalData(Checked, pl.LightningDataModule, ABC):
    """A data set of images with texts.

    A subclass reads its published files in `read`, and names its `classes`, `protocols`, `split` and `features`. The
    first protocol is the main one: it chooses the checkpoint on the validation part and ranks the runs. The test part
    is read when a test loader is asked for, or when a record names the checksum of all parts.

    Args:
        batch_size: Training pairs in a batch of one process; the batch that losses see has this many times the number
            of processes.
        eval_batch_size: Items that a process encodes at once in evaluation.
        epoch_of: What a training epoch goes through once: every text, or every image with one of its texts.
        regime: What of the training part is told: how many pairs, whose labels, and how many of them are wrong.

    Attributes:
        unknown_words: Share of words of validation and test texts that the model does not know, 0 to 1, by part, of
            the parts that were read; empty where texts are no words.
    """

    facts: ClassVar[Facts]
    """What is known of the data set before its files are read; it makes error messages, `prepare` and the card."""

    classes: tuple[str, ...]
    """Names of the label classes."""

    protocols: tuple[Protocol, ...]
    """The protocols of its metrics, the main one first."""

    def __init__(
        self,
        batch_size: Count = 64,
        eval_batch_size: Count = 256,
        epoch_of: EpochOf = "texts",
        regime: Regime = Regime(),  # noqa: B008  (frozen)
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.epoch_of = epoch_of
        self.regime = regime.seeded()
        self._told: dict[str, int | str] = {}
        self.unknown_words: dict[PartName, float] = {}
        self._read: dict[str, Part] = {}
        self._parts: dict[str, Part] = {}
        self._checksums: dict[tuple[PartName, ...], str] = {}

    def __str__(self) -> str:
        return type(self).__name__  # Lightning would make all loaders to measure them, that of the test part, too

    @abstractmethod
    def read(self, part: PartName) -> Part:
        """Read one part from the published files.

        Raises:
            UserError: If a file is missing or is not what it should be.
        """

    @property
    @abstractmethod
    def split(self) -> Split:
        """The split that the parts come from."""

    @property
    @abstractmethod
    def features(self) -> str:
        """The input of the encoders in words: features move results more than methods do."""

    def picture(self, part: PartName, image: int) -> np.ndarray | None:
        """Return the image to look at, uint8 `(H, W, 3)`, or None where the data set ships only features."""
        return None

    def relations(self, part: PartName) -> dict[str, Judgements]:
        """Read what people judged relevant among a part's images and texts, by the relevance that protocols name."""
        return {}

    def part(self, name: PartName) -> Part:
        """Return one part, read on first use and checked; of the training part, what the regime tells."""
        if name not in self._parts:
            part = self._whole(name)
            if name == "train" and not self.regime.whole:
                part, self._told = self.regime.tell(part, labelled=self.task == "label")
            self._parts[name] = part
        return self._parts[name]

    @property
    def told(self) -> dict[str, int | str]:
        """The regime in `words`, its `seed`, and counts and checksum of what it drew; empty where it tells all."""
        self.part("train")
        return self._told

    def _whole(self, name: PartName) -> Part:
        """Return one part as its files have it, whatever the regime tells of it."""
        if name not in self._read:
            self._check_declared()
            part = self.read(name)
            if not isinstance(part, Part):
                raise UserError(
                    f"{type(self).__name__}.read returns a {type(part).__name__}, but must return a `Part`."
                )
            self._check(name, part)
            self._read[name] = part
        return self._read[name]

    def _check_declared(self) -> None:
        for name, example in (("classes", '("cat", "dog")'), ("protocols", "INSTANCE_LEVEL")):
            if not hasattr(self, name):
                raise UserError(f"{type(self).__name__} has no `{name}`; set it in the class, as {name} = {example}.")

    def _check(self, name: PartName, part: Part) -> None:
        present = class_counts(part.label, len(self.classes))
        if len(present) != len(self.classes):
            raise UserError(
                f"{type(self).__name__}: the {name} part has labels of {len(present)} classes, but the data set names "
                f"{len(self.classes)} in `classes`."
            )
        empty = [c for c, n in zip(self.classes, present, strict=True) if n == 0]
        if empty and self.task == "label":
            raise UserError(
                f"{type(self).__name__}: no {name} image has the class {', '.join(empty)}; every class needs at least "
                f"one item in each part, so choose another split or check the label files."
            )

    @cached_property
    def spec(self) -> DataSpec:
        """The facts that a model must know before it is built; reads the training part."""
        try:
            train = self.part("train")
            text = train.text
            words = self.words(text.ids.shape[1]) if isinstance(text, Tokens) else Features(form(text).size)
        except AttributeError as error:  # jsonargparse would take it for a data set without `spec`, and go on
            raise RuntimeError(f"{type(self).__name__} cannot be read: {error}") from error
        return DataSpec(
            image=form(train.image),
            text=words,
            num_classes=len(self.classes),
            class_counts=class_counts(train.label, len(self.classes)),
            multi_label=train.label.ndim == 2,
            num_images=train.num_images,
            relevance=self.task,
        )

    @property
    def task(self) -> Task:
        """The task that the main protocol sets."""
        return "label" if self.protocols[0].relevance == "label" else "instance"

    def words(self, length: int) -> Words:
        """Describe texts of at most `length` tokens; only data sets that serve tokens can."""
        raise TypeError(f"{type(self).__name__} serves tokens and so must define `words`")

    def learned(self) -> dict[str, Any]:
        """Return what was learned from the training part, in plain values and tensors, which a checkpoint keeps."""
        return {}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Take what was learned in an earlier training instead of learning it from this training part; see `learned`.

        Raises:
            UserError: If the data cannot be brought into the form that they had in that training.
        """
        del learned

    def inputs(self, learned: Mapping[str, Any]) -> Inputs:
        """Return what makes the input of encoders from anybody's pictures and texts; no file of the data set is read.

        By default nothing does: pictures and texts were published in another form, or drawn.

        Args:
            learned: What was learned in the training, see `learned`.
        """
        del learned
        return Inputs(None, None)

    def trained_on(self) -> TrainedOn:
        """Collect what a model that is trained on these data must keep of them; reads training and validation part."""
        seen: tuple[PartName, PartName] = ("train", "val")
        return TrainedOn(
            dataset=type(self).__name__,
            split=asdict(self.split),
            classes=list(self.classes),
            spec=self.spec,
            learned=self.learned(),
            checksums={part: self.checksum(part) for part in seen},
            pictures={part: numbers_of(self.part(part).image_names) for part in seen},
        )

    def take_over(self, trained_on: TrainedOn, use: Use) -> dict[str, str]:
        """Serve what a model was trained to read, with the vocabulary and the spec of its training.

        Returns:
            What is different from the training and does not harm; see `TrainedOn.compare`.

        Raises:
            UserError: If the model cannot be used so on these data.
        """
        trained_on.refuse_other_labels(self.task, self.classes)
        self.restore(trained_on.learned)
        measured = torch.tensor([]) if use == "resume" else numbers_of(self.part(use).image_names)
        differences = trained_on.compare(self.trained_on(), use, measured)
        self.spec = trained_on.spec
        return differences

    def checksum(self, *parts: PartName) -> str:
        """Return the start of the SHA-256 over parts as encoders see them, by default all, 16 digits.

        A regime changes nothing in it: what that drew has a checksum of its own in `told`.
        """
        if parts not in self._checksums:
            digest = hashlib.sha256()
            for name in parts or ("train", "val", "test"):
                digest.update(name.encode())
                for content in self._whole(name).contents:
                    for piece in fingerprints(content):
                        digest.update(piece)
            self._checksums[parts] = digest.hexdigest()[:16]
        return self._checksums[parts]

    def training_pairs(self) -> Batch:
        """Return all training pairs that are known at once, in the order of the part, for methods in closed form."""
        part = self.part("train")
        owner = part.owner[part.linked]
        return Batch(take(part.image, owner), take(part.text, part.linked), part.label[owner], owner)

    @property
    def _process(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def train_dataloader(self) -> PairLoader:
        """Serve shuffled pairs of the training part; the order follows the run's seed."""
        rank, world_size = self._process
        seed = torch.initial_seed()
        if self.trainer and world_size > 1:  # what a process draws may have a seed of its own
            seed = self.trainer.strategy.broadcast(seed)
        loader = self._training_loader(seed, rank, world_size)
        if len(loader) == 0:
            raise UserError(
                f"data.batch_size is {self.batch_size} on {world_size} process(es), more than an epoch of "
                f"{type(self).__name__} has; choose a smaller batch."
            )
        if self.trainer:
            limit = self.trainer.limit_train_batches
            loader.limit = limit if isinstance(limit, int) else int(limit * len(loader))
            self._check_length(self.trainer, min(loader.limit, len(loader)), len(loader))
        return loader

    def _check_length(self, trainer: pl.Trainer, batches: int, most: int) -> None:
        """Raise UserError if the trainer's options do not fit an epoch of so many `batches`, of at `most` so many."""
        if batches == 0:
            raise UserError(
                f"trainer.limit_train_batches is {trainer.limit_train_batches}, which leaves none of the {most} "
                f"batches of an epoch; give a larger share, or a number of batches."
            )
        interval = getattr(trainer, "val_check_interval", 1.0)  # missing where the interval is a time
        per_epoch = isinstance(interval, int) and trainer.check_val_every_n_epoch is not None
        if per_epoch and interval > batches:
            raise UserError(
                f"trainer.val_check_interval is {interval}, more than the {batches} batches of an epoch; set "
                f"trainer.check_val_every_n_epoch to null to count on over the epochs, or give a smaller number."
            )

    def _training_loader(self, seed: int, rank: int, world_size: int) -> PairLoader:
        part = self.part("train")
        loader = PairLoader if len(part.linked) == part.num_texts else PartlyPairedLoader
        return loader(part, self.batch_size, seed, rank, world_size, self.epoch_of)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Move a batch to where the model is; loaders make them on the CPU, where it can stay."""
        return batch if device.type == "cpu" else super().transfer_batch_to_device(batch, device, dataloader_idx)

    def val_dataloader(self) -> list[ItemLoader]:
        """Serve the images, then the texts, of the validation part."""
        return self._item_loaders("val")

    def test_dataloader(self) -> list[ItemLoader]:
        """Serve the images, then the texts, of the test part."""
        return self._item_loaders("test")

    def predict_dataloader(self) -> list[ItemLoader]:
        """Serve what `test` does."""
        return self.test_dataloader()

    def _item_loaders(self, part: PartName) -> list[ItemLoader]:
        return item_loaders(self.part(part), self.eval_batch_size, *self._process)


def class_counts(label: Tensor, num_classes: int) -> tuple[int, ...]:
    """Count the items of each class, for class indices `(N,)` or multi-hot labels `(N, C)`.

    Examples:
        >>> class_counts(torch.tensor([0, 2, 2]), num_classes=4)
        (1, 0, 2, 0)
        >>> class_counts(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), num_classes=2)
        (1, 2)
    """
    if label.ndim == 2:
        return tuple(int(n) for n in label.sum(0))
    return tuple(torch.bincount(label[label >= 0], minlength=num_classes).tolist())
