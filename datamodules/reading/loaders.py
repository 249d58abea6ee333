"""Loaders of whole batches by index: no per-sample Python; what is on disk is read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from cmr_lightning.batch import Batch, Items
from cmr_lightning.errors import UserError
from datamodules.reading.content import Content, Stored, size, take
from datamodules.reading.reading_ahead import ahead

EpochOf = Literal["texts", "images"]
Whole = TypeVar("Whole")
Index = TypeVar("Index")


def batches(read: Callable[[Index], Whole], indices: Sequence[Index], contents: Iterable[Content]) -> Iterator[Whole]:
    """Batches in order, read ahead where one of the contents that they are of is on disk."""
    processes = [content.processes for content in contents if isinstance(content, Stored)]
    return ahead(read, indices, min(max(processes), len(indices))) if processes else map(read, indices)


@dataclass(frozen=True)
class Part:
    """One part (train, val or test) of a data set.

    Attributes:
        image: M images, feature vectors `(M, D)` float32 or uint8 pictures `(M, 3, H, W)`, or what reads them.
        text: P texts, feature vectors `(P, D)` float32 or tokens `(P, L)`, or what reads them.
        label: Labels of the images, class indices `(M,)` int64 or multi-hot `(M, C)` float32.
        owner: Row of the image that each text belongs to, `(P,)` int64.
        image_names: M names by which people know the images.
        captions: P texts as people read them; empty strings where the data set ships only features.
        query: Which images are queries in evaluation, with their texts, `(M,)` bool, all others being the gallery; None
            where every item is both.
    """

    image: Tensor | Stored
    text: Content
    label: Tensor
    owner: Tensor
    image_names: tuple[str, ...]
    captions: tuple[str, ...]
    query: Tensor | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """All that makes these data what they are."""
        return self.image, self.text, self.label, self.owner

    @property
    def on_disk(self) -> bool:
        """Whether images or texts are read when they are asked for, and may then be augmented."""
        return isinstance(self.image, Stored) or isinstance(self.text, Stored)

    @property
    def num_images(self) -> int:
        """Number of images M."""
        return size(self.image)

    @property
    def num_texts(self) -> int:
        """Number of texts P."""
        return size(self.text)

    def asking(self, modality: Literal["image", "text"]) -> Tensor:
        """Rows of the images or texts that are queries in evaluation, int64."""
        return self._rows_where(modality, asks=True)

    def answering(self, modality: Literal["image", "text"]) -> Tensor:
        """Rows of the images or texts that are the gallery in evaluation, int64."""
        return self._rows_where(modality, asks=False)

    def _rows_where(self, modality: Literal["image", "text"], asks: bool) -> Tensor:
        if self.query is None:
            return torch.arange(self.num_images if modality == "image" else self.num_texts)
        query = self.query if modality == "image" else self.query[self.owner]
        return (query == asks).nonzero().flatten()


class PairLoader:
    """Shuffled training pairs, one text with its image per row, an incomplete last batch dropped.

    The order of an epoch is a function of the seed and the epoch alone, and the position inside an epoch is part of
    `state_dict`, so that a run stopped in the middle of an epoch goes on with the very batch that was next.

    Several processes deal the rows of an epoch out one by one: the i-th batches of W processes with B pairs each are
    together the i-th batch of one process with W B pairs, row by row in turn.

    Args:
        part: What to draw from.
        batch_size: Pairs in a batch of one process.
        seed: Seed of the order.
        rank: Which share of each epoch's rows this process serves.
        world_size: Number of processes that share an epoch.
        epoch_of: What an epoch goes through once: every text, or every image with one of its texts drawn at random.

    Attributes:
        limit: Most batches of an epoch that are asked for, None for all: an epoch is over where nobody asks for more.
    """

    limit: int | None = None

    def __init__(
        self,
        part: Part,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        epoch_of: EpochOf = "texts",
    ) -> None:
        self.part = part
        self.batch_size = batch_size
        self.epoch_of = epoch_of
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._epoch = -1
        self._position = 0
        self._resumed = False

    def __len__(self) -> int:
        return self._batches_of(self.batch_size * self.world_size)

    def _batches_of(self, pairs: int) -> int:
        return (self.part.num_texts if self.epoch_of == "texts" else self.part.num_images) // pairs

    def __iter__(self) -> Iterator[Batch]:
        if self._resumed:
            self._resumed = False
        else:
            self._epoch, self._position = self._epoch + 1, 0
        order = self._order()
        numbers = range(self._position, self._last(len(self)))
        numbered = [(i, order[i * self.batch_size : (i + 1) * self.batch_size]) for i in numbers]
        for pairs in batches(self._pairs, numbered, (self.part.image, self.part.text)):
            self._position += 1
            yield pairs

    def _last(self, batches: int) -> int:
        return batches if self.limit is None else min(batches, self.limit)

    def _order(self) -> Tensor:
        generator = torch.Generator().manual_seed((self.seed * 1_000_003 + self._epoch) % 2**63)
        order = torch.randperm(self.part.num_texts, generator=generator)
        if self.epoch_of == "images":
            order = _first_of_each(order, self.part.owner, self.part.num_images)
        return order[self.rank :: self.world_size]

    def _pairs(self, numbered: tuple[int, Tensor]) -> Batch:
        batch, texts = numbered
        images, draw = self.part.owner.index_select(0, texts), self._draw(batch) if self.part.on_disk else None
        image = take(self.part.image, images, draw)
        assert isinstance(image, Tensor)
        return Batch(
            image=image,
            text=take(self.part.text, texts, draw),
            label=self.part.label.index_select(0, images),
            image_id=images,
        )

    def _draw(self, batch: int) -> torch.Generator:
        """Where a batch draws the augmentation of its items from."""
        return torch.Generator().manual_seed(hash((self.seed, self._epoch, batch, self.rank)) % 2**63)

    def state_dict(self) -> dict[str, Any]:
        """Epoch, and the number of its batches already served."""
        return {"epoch": self._epoch, "position": self._position, "pairs": self.batch_size * self.world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that `state` says were served; a finished epoch is not served again.

        Raises:
            UserError: If that was in the middle of an epoch, with batches of another size.
        """
        self._epoch, self._position = state["epoch"], state["position"]
        self._resumed = self._epoch >= 0 and self._position < self._last(self._batches_of(state["pairs"]))
        if self._resumed and state["pairs"] != self.batch_size * self.world_size:
            raise UserError(
                f"The checkpoint was written in the middle of an epoch with batches of {state['pairs']} pairs, but "
                f"data.batch_size is {self.batch_size} on {self.world_size} process(es); set it to what makes as many."
            )


def _first_of_each(texts: Tensor, owner: Tensor, num_images: int) -> Tensor:
    """The texts that come first of all texts of their image, in the order in which they come."""
    places = torch.arange(len(texts))
    first = torch.full((num_images,), len(texts)).scatter_reduce(0, owner[texts], places, "amin")
    return texts[first.sort().values]


class ItemLoader:
    """Every item of one modality of a part, once, in the order of the part.

    Args:
        content: The items.
        label: Their labels.
        image_id: The image that each of them is, or belongs to.
        batch_size: Items in a batch.
        query: Which items are queries; None where every item is query and gallery.
        rank: Which share of the items this process serves; the shares follow on one another.
        world_size: Number of processes that share the items.
    """

    def __init__(
        self,
        content: Content,
        label: Tensor,
        image_id: Tensor,
        batch_size: int,
        query: Tensor | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.content = content
        self.label = label
        self.image_id = image_id
        self.batch_size = batch_size
        self.query = query
        self._share = torch.arange(size(content)).tensor_split(world_size)[rank]

    def __len__(self) -> int:
        return -(-len(self._share) // self.batch_size)

    def __iter__(self) -> Iterator[Items]:
        return batches(self._items, self._share.split(self.batch_size), (self.content,))

    def _items(self, index: Tensor) -> Items:
        query = None if self.query is None else self.query[index]
        return Items(take(self.content, index), self.label[index], self.image_id[index], index, query)


def item_loaders(part: Part, batch_size: int, rank: int = 0, world_size: int = 1) -> list[ItemLoader]:
    """The images of a part, then its texts, or the share of each that one of several processes serves."""
    return [
        ItemLoader(part.image, part.label, torch.arange(part.num_images), batch_size, part.query, rank, world_size),
        ItemLoader(
            part.text,
            part.label[part.owner],
            part.owner,
            batch_size,
            None if part.query is None else part.query[part.owner],
            rank,
            world_size,
        ),
    ]
