"""Training where few pairs are known: these again and again, beside all images and all texts in orders of their own."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.batch import Batch, Loose
from cmr_lightning.batch import rows as of_rows
from cmr_lightning.errors import UserError
from datamodules.reading.content import Content
from datamodules.reading.loaders import EpochOf, PairLoader, Part


class PartlyPairedLoader(PairLoader):
    """Batches of known pairs, and beside them as many images and texts as a batch has, from anywhere in the part.

    An epoch has as many batches as where all pairs are known, so that regimes are compared at equal numbers of updates.
    Loose images and texts come in two independent orders, in which no pair is linked; the known pairs, up to a full
    batch of them, come in as many random orders as are needed.

    Args:
        part: What to draw from; the owner of some texts is not told.
        batch_size: Loose images, and loose texts, in a batch of one process, and at most so many pairs.
        seed: Seed of the orders.
        rank: Which share of each epoch's rows this process serves.
        world_size: Number of processes that share an epoch.
        epoch_of: As many loose texts as there are texts, or as there are images; and all texts of a pair's image, or
            one of them drawn at random.

    Raises:
        UserError: If there are fewer pairs than processes, but not none.
    """

    def __init__(
        self, part: Part, batch_size: int, seed: int, rank: int = 0, world_size: int = 1, epoch_of: EpochOf = "texts"
    ) -> None:
        super().__init__(part, batch_size, seed, rank, world_size, epoch_of)
        owners = part.owner[part.linked]
        known = len(owners if epoch_of == "texts" else owners.unique())
        if 0 < known < world_size:
            raise UserError(f"data.regime knows {known} pairs, too few for {world_size} processes; choose fewer.")
        self.pairs = min(batch_size, known // world_size)

    def _epoch_rows(self) -> Callable[[int], tuple[Tensor, ...]]:
        generator, batches, size, pairs = self._generator(), len(self), self.batch_size, self.pairs
        numbers = self.part.num_images, self.part.num_texts
        images, texts = (self._orders(torch.arange(n), batches * size, generator) for n in numbers)
        linked = self._orders(self.part.linked, batches * pairs, generator, self.epoch_of == "images")

        def rows(batch: int) -> tuple[Tensor, ...]:
            of_pairs, of_loose = (slice(batch * n, (batch + 1) * n) for n in (pairs, size))
            paired = linked[of_pairs]
            of_items = images[of_loose], texts[of_loose]
            return of_items if pairs == 0 else (*of_items, self.part.owner[paired], paired)

        return rows

    def _orders(self, rows: Tensor, number: int, generator: torch.Generator, of_images: bool = False) -> Tensor:
        """Return this process's share of the rows in one random order after another, `number` of them."""
        orders: list[Tensor] = []
        while sum(map(len, orders)) < number * self.world_size:
            order = rows[torch.randperm(len(rows), generator=generator)]
            if of_images:
                _, first = np.unique(self.part.owner[order].numpy(), return_index=True)
                order = order[np.sort(first)]
            orders.append(order)
        return torch.cat([rows[:0], *orders])[: number * self.world_size][self.rank :: self.world_size]

    def _contents(self) -> Sequence[Content]:
        items = self.part.image, self.part.text
        return items if self.pairs == 0 else items * 2

    def _batch(self, rows: tuple[Tensor, ...], read: list[Any]) -> Batch:
        label, text_label = self.part.label, self.part.text_label
        if text_label is None:
            raise TypeError("a part whose pairs are not all told has labels of its texts")
        images, texts, *paired = rows
        loose_image, loose_text, *of_pairs = read
        loose = Loose(loose_image, loose_text, label[images], text_label[texts])
        if not paired:
            none = images[:0]
            return Batch(loose_image[:0], of_rows(loose_text, none), label[none], none, loose)
        owner, (image, text) = paired[0], of_pairs
        return Batch(image, text, label[owner], owner, loose)
