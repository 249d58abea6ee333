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
UNPAIRED = ("unpaired", "unpaired_classes")
GIVEN = ("classes", "unpaired_classes")
"""What no gradient flows to, whatever the loss."""


@dataclass(frozen=True)
class Smooth:
    """A discriminator blind to classes, z(x) = Σ_k sigmoid(w_k · x), with the weights w `(K, D)`."""

    weight: Tensor

    def __call__(self, points: Tensor, classes: Tensor | None = None) -> Tensor:
        return (points @ self.weight.to(points).T).sigmoid().sum(1)

    def tolist(self) -> list[list[float]]:
        return self.weight.tolist()


class Linear(Smooth):
    """One whose slope is the same everywhere, z(x) = w_0 · x."""

    def __call__(self, points: Tensor, classes: Tensor | None = None) -> Tensor:
        return points @ self.weight.to(points)[0]


@dataclass(frozen=True)
class Sample:
    """Everything that a loss may ask for, N items each, but for N + 2 that are unpaired.

    Relations, but for `same`, need not be symmetric; classes are distributions, of unknown items zeros.
    """

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
    classes: Tensor
    unpaired: Tensor
    unpaired_classes: Tensor

    @property
    def smooth(self) -> Smooth:
        return Smooth(self.weight)

    @property
    def linear(self) -> Linear:
        return Linear(self.weight)

    @property
    def floats(self) -> dict[str, Tensor]:
        floats = {name: value for name, value in vars(self).items() if value.is_floating_point()}
        return {name: value for name, value in floats.items() if name not in GIVEN}

    def with_floats(self, change: Callable[[Tensor], Tensor]) -> Sample:
        return replace(self, **{name: change(value) for name, value in self.floats.items()})

    def with_relations(self, change: Callable[[Tensor], Tensor]) -> Sample:
        return replace(self, **{name: change(getattr(self, name)) for name in RELATIONS})

    def permuted(self, order: Tensor) -> Sample:
        rows = {name: value[order] for name, value in vars(self).items() if name not in ("weight", *UNPAIRED)}
        pairs = {name: rows[name][:, order] for name in PAIRWISE}
        others = torch.cat([len(order) + torch.arange(2), order])
        return replace(self, **rows | pairs | {name: getattr(self, name)[others] for name in UNPAIRED})


def sample(items: int = 6, seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    label = torch.tensor(LABELS[:items])
    same = label[:, None] == label[None, :]
    hot = torch.nn.functional.one_hot(label, 3)
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
        one_hot=hot,
        multi_hot=torch.tensor(HOT[:items]),
        same=same,
        match=same | first_with_last,
        negatives=~same & ~first_with_last,
        classes=hot.double(),
        unpaired=normal(items + 2, 5),
        unpaired_classes=torch.cat([torch.zeros(1, 3), normal(items + 1, 3).softmax(1)]),
    )
