"""Loaders of whole batches by index: no per-sample Python; what is on disk is read ahead."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import compress
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.batch import Batch, ComposedQuery, Items, Text
from cmr_lightning.errors import UserError
from datamodules.reading.content import Content, Stored, size, take
from datamodules.reading.reading_ahead import ReadingAhead

EpochOf = Literal["texts", "images"]


class Request(NamedTuple):
    """Rows of each of several contents, int64, and the seed of the augmentation; None in evaluation, which has none."""

    rows: tuple[Tensor, ...]
    seed: int | None = None


class Reader:
    """Reads rows of several contents, batch after batch; what is on disk, in processes that stay for later epochs."""

    def __init__(self) -> None:
        self._stored: list[Stored] = []
        self._ahead: ReadingAhead[Request, list[Tensor]] | None = None

    def read(self, contents: Sequence[Content], requests: Sequence[Request], most: int) -> Iterator[list[Any]]:
        """Read the rows of each content, for one request after another, in no more than `most` processes."""
        stored = [content for content in contents if isinstance(content, Stored)]
        if not stored:  # a `DataLoader` would take many times as long, most of it to copy between processes
            for rows, _ in requests:
                yield [take(content, of_it) for content, of_it in zip(contents, rows, strict=True)]
            return
        if self._ahead is None or stored != self._stored:
            processes = min(max(content.processes for content in stored), most)
            self._stored, self._ahead = stored, ReadingAhead(partial(_read, stored), processes)
        on_disk = [isinstance(content, Stored) for content in contents]
        wanted = [Request(tuple(compress(rows, on_disk)), seed) for rows, seed in requests]
        for (rows, _), read in zip(requests, self._ahead(wanted), strict=True):
            yield [
                read.pop(0) if isinstance(content, Stored) else take(content, of_it)
                for content, of_it in zip(contents, rows, strict=True)
            ]


def _read(contents: Sequence[Stored], request: Request) -> list[Tensor]:
    """Read what is on disk: all that a process which reads is given."""
    draw = None if request.seed is None else torch.Generator().manual_seed(request.seed)
    return [content.rows(rows, draw) for content, rows in zip(contents, request.rows, strict=True)]


@dataclass(frozen=True)
class Part:
    """One part (train, val or test) of a data set.

    Attributes:
        image: M images, feature vectors `(M, D)` float32 or uint8 pictures `(M, 3, H, W)`, or what reads them.
        text: P texts, feature vectors `(P, D)` float32 or tokens `(P, L)`, or what reads them.
        label: Labels of the images, class indices `(M,)` int64 or multi-hot `(M, C)` float32; in training -1, or no
            label, where it is not told.
        owner: Row of the image that each text belongs to, `(P,)` int64; in training -1 where it is not told.
        image_names: M names by which people know the images.
        captions: P texts as people read them; empty strings where the data set ships only features.
        query: Which images are queries in evaluation, with their texts, `(M,)` bool, all others being the gallery; None
            where every item is both.
        text_label: Labels of the texts, as those of the images; None where they are their images' labels.
    """

    image: Tensor | Stored
    text: Content
    label: Tensor
    owner: Tensor
    image_names: tuple[str, ...]
    captions: tuple[str, ...]
    query: Tensor | None = None
    text_label: Tensor | None = None

    @property
    def contents(self) -> tuple[Content, ...]:
        """All content, in the order of the checksum."""
        own = () if self.text_label is None else (self.text_label,)
        return self.image, self.text, self.label, self.owner, *own

    @property
    def linked(self) -> Tensor:
        """Rows of the texts whose image is told, int64."""
        return (self.owner >= 0).nonzero().flatten()

    @property
    def num_images(self) -> int:
        """Number of images M."""
        return size(self.image)

    @property
    def num_texts(self) -> int:
        """Number of texts P."""
        return size(self.text)

    def asking(self, modality: Literal["image", "text"]) -> Tensor:
        """Return the rows of the images or texts that are queries in evaluation, int64."""
        return self._rows_where(modality, asks=True)

    def answering(self, modality: Literal["image", "text"]) -> Tensor:
        """Return the rows of the images or texts that are the gallery in evaluation, int64."""
        return self._rows_where(modality, asks=False)

    def _rows_where(self, modality: Literal["image", "text"], asks: bool) -> Tensor:
        if self.query is None:
            return torch.arange(self.num_images if modality == "image" else self.num_texts)
        query = self.query if modality == "image" else self.query[self.owner]
        return (query == asks).nonzero().flatten()


class PairLoader:
    """Shuffled training pairs, one text with its image per row, an incomplete last batch dropped.

    The order of an epoch is a function of the seed and the epoch alone, and the position inside an epoch is part of
    `state_dict`, so that a run stopped in the middle of an epoch continues with the very batch that was next.

    Several processes deal the rows of an epoch out one by one: the i-th batches of W processes with B pairs each are
    together the i-th batch of one process with W B pairs, row by row in turn.

    Args:
        part: What to draw from.
        batch_size: Pairs in a batch of one process.
        seed: Seed of the order.
        rank: Which share of each epoch's rows this process serves.
        world_size: Number of processes that share an epoch.
        epoch_of: What an epoch serves once: every text, or every image with one of its texts drawn at random.
    """

    limit: int | None = None
    """Most batches of an epoch; None for all."""

    def __init__(
        self, part: Part, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, epoch_of: EpochOf = "texts"
    ) -> None:
        self.part = part
        self.batch_size = batch_size
        self.epoch_of = epoch_of
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._reader = Reader()
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
        contents, rows = self._contents(), self._epoch_rows()
        on_disk = any(isinstance(content, Stored) for content in contents)
        requests = [
            Request(rows(i), self._seed(i) if on_disk else None) for i in range(self._position, self._last(len(self)))
        ]
        for request, read in zip(requests, self._reader.read(contents, requests, len(self)), strict=True):
            self._position += 1
            yield self._batch(request.rows, read)

    def _last(self, batches: int) -> int:
        return batches if self.limit is None else min(batches, self.limit)

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed((self.seed * 1_000_003 + self._epoch) % 2**63)

    def _order(self) -> Tensor:
        order = torch.randperm(self.part.num_texts, generator=self._generator())
        if self.epoch_of == "images":
            _, first = np.unique(self.part.owner[order].numpy(), return_index=True)
            order = order[np.sort(first)]
        return order[self.rank :: self.world_size]

    def _epoch_rows(self) -> Callable[[int], tuple[Tensor, ...]]:
        """Draw the order of this epoch; return what tells the rows of its batches by their numbers."""
        order, size = self._order(), self.batch_size
        return lambda batch: self._rows(order[batch * size : (batch + 1) * size])

    def _seed(self, batch: int) -> int:
        entropy = np.random.SeedSequence((self.seed, self._epoch, batch, self.rank))
        return int(entropy.generate_state(1, np.uint64)[0])

    def _contents(self) -> Sequence[Content]:
        return self.part.image, self.part.text

    def _rows(self, texts: Tensor) -> tuple[Tensor, ...]:
        return self.part.owner.index_select(0, texts), texts

    def _batch(self, rows: tuple[Tensor, ...], read: list[Any]) -> Batch:
        image, text = read
        return Batch(image, text, label=self.part.label.index_select(0, rows[0]), image_id=rows[0])

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, and the number of its batches already served."""
        return {"epoch": self._epoch, "position": self._position, "pairs": self.batch_size * self.world_size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the batches that were served; a finished epoch is not served again.

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


class ItemLoader:
    """Every item of one modality of a part, once, in the order of the part; see `Items`.

    Process `rank` of `world_size` serves its share of the items; the shares follow on one another.
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
        self._reader = Reader()
        self._share = torch.arange(size(content)).tensor_split(world_size)[rank]

    def __len__(self) -> int:
        return -(-len(self._share) // self.batch_size)

    def __iter__(self) -> Iterator[Items]:
        shares = self._share.split(self.batch_size)
        requests = [Request(self._rows(index)) for index in shares]
        for index, read in zip(shares, self._reader.read(self._contents(), requests, len(self)), strict=True):
            query = None if self.query is None else self.query[index]
            yield Items(self._item(read), self.label[index], self.image_id[index], index, query)

    def _contents(self) -> Sequence[Content]:
        return (self.content,)

    def _rows(self, index: Tensor) -> tuple[Tensor, ...]:
        return (index,)

    def _item(self, read: list[Any]) -> Text | ComposedQuery:
        return read[0]


def item_loaders(part: Part, batch_size: int, rank: int = 0, world_size: int = 1) -> list[ItemLoader]:
    """Return loaders of the images and of the texts of a part, or of the share that one of several processes serves."""
    query = None if part.query is None else part.query[part.owner]
    images = torch.arange(part.num_images)
    return [
        ItemLoader(part.image, part.label, images, batch_size, part.query, rank, world_size),
        ItemLoader(part.text, part.label[part.owner], part.owner, batch_size, query, rank, world_size),
    ]
