from __future__ import annotations

from typing import Any

import pytest
import torch

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.methods.triplet import Triplet
from tests.toy import IMAGE, TEXT, Toy, encoder


def batch_of(label: torch.Tensor, image_id: torch.Tensor | None = None) -> Batch:
    n = len(label)
    ids = torch.arange(n) if image_id is None else image_id
    return Batch(torch.randn(n, IMAGE), torch.randn(n, TEXT), label, ids)


def loss(batch: Batch, embeddings: Embeddings, level: str = "label", **settings: Any) -> torch.Tensor:
    data = Toy(level=level, captions=2)
    model = Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8, **settings)
    return model.generator_losses(batch, embeddings)["triplet"]


@pytest.mark.parametrize("mining", ["all", "hardest"])
@pytest.mark.parametrize("level", ["label", "instance"])
def test_loss_equals_loops(level: str, mining: str) -> None:
    label, image_id = torch.tensor([0, 1, 0, 2, 1, 0]), torch.tensor([0, 1, 2, 3, 4, 0])
    v, t = torch.nn.functional.normalize(torch.randn(2, 6, 8), dim=2)
    key = label if level == "label" else image_id
    total = 0.0
    for i in range(6):
        negatives = [j for j in range(6) if key[j] != key[i]]
        texts = [max(0.0, (0.3 - v[i] @ t[i] + v[i] @ t[j]).item()) for j in negatives]
        images = [max(0.0, (0.3 - v[i] @ t[i] + v[j] @ t[i]).item()) for j in negatives]
        total += sum(texts) + sum(images) if mining == "all" else max(texts) + max(images)
    found = loss(batch_of(label, image_id), Embeddings(2 * v, 3 * t), level, margin=0.3, mining=mining)
    assert found.item() == pytest.approx(total / 6, rel=1e-4)


@pytest.mark.parametrize("mining", ["all", "hardest"])
def test_items_of_one_class_are_never_negatives(mining: str) -> None:
    """Where they are all that there is, nothing is left to lose."""
    embeddings = Embeddings(*torch.randn(2, 5, 8))
    assert loss(batch_of(torch.full((5,), 3)), embeddings, mining=mining) == 0
    assert loss(batch_of(torch.arange(5) % 4), embeddings, mining=mining) > 0


def test_captions_of_one_image_are_never_negatives() -> None:
    embeddings = Embeddings(*torch.randn(2, 5, 8))
    same, different = torch.zeros(5, dtype=torch.long), torch.arange(5)
    assert loss(batch_of(same, same), embeddings, "instance") == 0
    assert loss(batch_of(same, different), embeddings, "instance") > 0  # one class, but five images


def test_pairs_beyond_the_margin_cost_nothing() -> None:
    apart = torch.eye(4, 8)
    assert loss(batch_of(torch.arange(4)), Embeddings(apart, apart), margin=0.9) == 0
    assert loss(batch_of(torch.arange(4)), Embeddings(apart, apart), margin=1.1).item() == pytest.approx(0.2)
