"""Composed retrieval: the query is an image with a text that says what to change, the answer is another image."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cmr_lightning.batch import Batch, ComposedQuery, Task
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Compositions
from datamodules.base import CrossModalData, PartName
from datamodules.reading.content import Content, Stored
from datamodules.reading.loaders import ItemLoader, PairLoader, Part


@dataclass(frozen=True, kw_only=True)
class ComposedPart(Part):
    """One part of a composed data set: M images, and P queries that start from one of them and ask for another.

    Here `text` says what to change, `captions` the same as people read it, and `owner` where queries start.

    Attributes:
        target: Row of the image that each query asks for, `(P,)` int64. Where several images are right, any of them.
        keys: For each relevance of the protocols but `target` the keys of the images, `(M,)` int64: images with the key
            of the target are right as well.
        fold: Which fold each image is in, `(M,)` int64, for protocols with folds: a query searches the fold of its
            source alone.
        sources: M other pictures of what the images show, for queries to start from; None where they start from the
            images themselves.
    """

    target: Tensor
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    fold: Tensor | None = None
    sources: Stored | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """All content, in the order of the checksum."""
        others = [content for content in (self.fold, self.sources) if content is not None]
        return (*super().contents, self.target, *(self.keys[name] for name in sorted(self.keys)), *others)

    @property
    def starts(self) -> Tensor | Stored:
        """The pictures that queries start from, by row of the images."""
        return self.image if self.sources is None else self.sources

    @property
    def compositions(self) -> Compositions:
        """The queries as metrics need them."""
        return Compositions(self.owner, self.target, self.keys, self.fold)

    def key(self, relevance: str) -> Tensor:
        """Return the keys of the images under a relevance, `(M,)` int64."""
        return torch.arange(self.num_images) if relevance == "target" else self.keys[relevance]


class ComposedData(CrossModalData):
    """A data set of composed queries.

    A subclass does what every data set does, and reads `ComposedPart`s. Where the training queries are not listed but
    drawn in each epoch, it overrides `epoch` as well.

    Evaluation serves all images of a part, each once, and its queries, each with the picture that it starts from.
    """

    @abstractmethod
    def read(self, part: PartName) -> ComposedPart:
        """Read one part from the published files; see `CrossModalData.read`."""

    def epoch(self, generator: torch.Generator) -> ComposedPart:
        """Return the training part with the queries of one epoch, always equally many; by default those read."""
        return self.part("train")

    @property
    def task(self) -> Task:
        """The task: to find what a composed query describes."""
        return "composed"

    def part(self, name: PartName) -> ComposedPart:
        """Return one part, read on first use and checked."""
        part = super().part(name)
        if not isinstance(part, ComposedPart):
            raise TypeError(f"{type(self).__name__} reads a {type(part).__name__}, which has no composed queries")
        return part

    def _check(self, name: PartName, part: Part) -> None:
        super()._check(name, part)
        if not self.regime.whole:
            raise UserError("data.regime is for images with texts, not for composed queries; leave it out.")
        if isinstance(part, ComposedPart) and (own := (part.owner == part.target).nonzero().flatten().tolist()):
            raise UserError(
                f"{type(self).__name__}: {len(own)} {name} queries ask for the very image that they start from, the "
                f"first being {part.captions[own[0]]!r} from {part.image_names[int(part.owner[own[0]])]}."
            )

    def _training_loader(self, seed: int, rank: int, world_size: int) -> PairLoader:
        relevance = self.protocols[0].relevance
        return ComposedLoader(self.part("train"), self.epoch, relevance, self.batch_size, seed, rank, world_size)

    def _item_loaders(self, part: PartName) -> list[ItemLoader]:
        images, _ = super()._item_loaders(part)
        return [images, QueryLoader(self.part(part), self.eval_batch_size, *self._process)]


class ComposedLoader(PairLoader):
    """Shuffled queries with their targets, an incomplete last batch dropped; otherwise as `PairLoader`.

    Args:
        epoch: Draws the queries of an epoch.
        relevance: The relevance by whose keys a batch tells right answers from wrong ones.
    """

    def __init__(
        self,
        part: ComposedPart,
        epoch: Callable[[torch.Generator], ComposedPart],
        relevance: str,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(part, batch_size, seed, rank, world_size)
        self.epoch = epoch
        self.relevance = relevance
        self._now = part

    def _order(self) -> Tensor:
        self._now = self.epoch(self._generator())
        return super()._order()

    def _contents(self) -> Sequence[Content]:
        return self._now.image, self._now.starts, self._now.text

    def _rows(self, texts: Tensor) -> tuple[Tensor, ...]:
        return self._now.target[texts], self._now.owner[texts], texts

    def _batch(self, rows: tuple[Tensor, ...], read: list[Any]) -> Batch:
        image, source, text = read
        label = self._now.label.index_select(0, rows[0])
        return Batch(image, ComposedQuery(source, text), label, image_id=self._now.key(self.relevance)[rows[0]])


class QueryLoader(ItemLoader):
    """Every query of a part, once, in the order of the part, or a process's share of them; see `ItemLoader`."""

    def __init__(self, part: ComposedPart, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        super().__init__(part.text, part.label[part.owner], part.owner, batch_size, None, rank, world_size)
        self.part = part

    def _contents(self) -> Sequence[Content]:
        return self.part.starts, self.part.text

    def _rows(self, index: Tensor) -> tuple[Tensor, ...]:
        return self.part.owner[index], index

    def _item(self, read: list[Any]) -> ComposedQuery:
        return ComposedQuery(*read)
