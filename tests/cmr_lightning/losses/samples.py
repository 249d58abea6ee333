"""Random batches, and the arithmetic that the explicit loops share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LABELS = (0, 0, 1, 1, 0, 2)
"""Two classes of several items, one of a single item."""


@dataclass(frozen=True)
class Sample:
    """Everything that a loss may ask for, N items each."""

    images: Tensor
    texts: Tensor
    image_logits: Tensor
    text_logits: Tensor
    image_modality: Tensor
    text_modality: Tensor
    rotation: Tensor
    weight: Tensor
    scores: Tensor
    label: Tensor

    @property
    def same(self) -> Tensor:
        return self.label[:, None] == self.label[None, :]

    @property
    def one_hot(self) -> Tensor:
        return torch.nn.functional.one_hot(self.label, 3)

    @property
    def floats(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if value.is_floating_point()}

    def with_floats(self, change: Callable[[Tensor], Tensor]) -> Sample:
        return replace(self, **{name: change(value) for name, value in self.floats.items()})

    def permuted(self, order: Tensor) -> Sample:
        rows = {name: value[order] for name, value in vars(self).items() if name not in ("weight", "scores")}
        return replace(self, **rows, scores=self.scores[order][:, order])


def sample(items: int = 6, seed: int = 0) -> Sample:
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    return Sample(
        images=normal(items, 5),
        texts=normal(items, 5),
        image_logits=normal(items, 3),
        text_logits=normal(items, 3),
        image_modality=normal(items),
        text_modality=normal(items),
        rotation=normal(items, 4, 4),
        weight=normal(3, 5),
        scores=normal(items, items, 3),
        label=torch.tensor(LABELS[:items]),
    )


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def scaled(a: Sequence[float]) -> list[float]:
    return [x / math.sqrt(dot(a, a)) for x in a]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return dot(scaled(a), scaled(b))


def squared_distance(a: Sequence[float], b: Sequence[float]) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    return math.sqrt(squared_distance(a, b))


def softmax(a: Sequence[float]) -> list[float]:
    total = sum(math.exp(x) for x in a)
    return [math.exp(x) / total for x in a]


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def entropy(p: Sequence[float]) -> float:
    return -sum(x * math.log(x) for x in p)


def mean(numbers: Iterator[float] | Sequence[float]) -> float:
    listed = list(numbers)
    return sum(listed) / len(listed) if listed else 0.0
