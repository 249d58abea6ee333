"""Random batches for the losses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LABELS = (0, 0, 1, 1, 0, 2)
"""Two classes of several items, one of a single item."""

HOT = ((1, 0, 1), (1, 1, 1), (0, 1, 0), (0, 0, 0), (0, 0, 1), (1, 1, 0))
"""Several labels an item, and an item without any."""

PAIRWISE = ("scores", "local_scores", "same", "match", "negatives")
RELATIONS = ("same", "match", "negatives")


@dataclass(frozen=True)
class Sample:
    """Everything that a loss may ask for, N items each; relations, but for `same`, need not be symmetric."""

    images: Tensor
    texts: Tensor
    image_logits: Tensor
    text_logits: Tensor
    image_modality: Tensor
    text_modality: Tensor
    rotation: Tensor
    weight: Tensor
    scores: Tensor
    local_scores: Tensor
    label: Tensor
    one_hot: Tensor
    multi_hot: Tensor
    same: Tensor
    match: Tensor
    negatives: Tensor

    @property
    def floats(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if value.is_floating_point()}

    def with_floats(self, change: Callable[[Tensor], Tensor]) -> Sample:
        return replace(self, **{name: change(value) for name, value in self.floats.items()})

    def with_relations(self, change: Callable[[Tensor], Tensor]) -> Sample:
        return replace(self, **{name: change(getattr(self, name)) for name in RELATIONS})

    def permuted(self, order: Tensor) -> Sample:
        rows = {name: value[order] for name, value in vars(self).items() if name != "weight"}
        return replace(self, **rows | {name: rows[name][:, order] for name in PAIRWISE})


def sample(items: int = 6, seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    label = torch.tensor(LABELS[:items])
    same = label[:, None] == label[None, :]
    first_with_last = torch.zeros(items, items, dtype=torch.bool)
    first_with_last[0, -1] = True
    return Sample(
        images=normal(items, 5),
        texts=normal(items, 5),
        image_logits=normal(items, 3),
        text_logits=normal(items, 3),
        image_modality=normal(items),
        text_modality=normal(items),
        rotation=normal(items, 4, 4),
        weight=normal(3, 5),
        scores=normal(items, items),
        local_scores=normal(items, items, 3),
        label=label,
        one_hot=torch.nn.functional.one_hot(label, 3),
        multi_hot=torch.tensor(HOT[:items]),
        same=same,
        match=same | first_with_last,
        negatives=~same & ~first_with_last,
    )
