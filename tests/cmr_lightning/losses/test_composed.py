import math

import pytest
import torch

from cmr_lightning.losses import batch_classification, soft_triplet

from .samples import Sample, cosine, mean, sample, softmax, squared_distance


def unrelated(batch: Sample) -> torch.Tensor:
    """Which items may be held against each other, not the same both ways."""
    negatives = ~batch.same
    negatives[0, 3] = False
    return negatives


def test_batch_classification_equals_a_loop() -> None:
    batch, scale = sample(), 3.0
    queries, targets, negatives = batch.images.tolist(), batch.texts.tolist(), unrelated(batch)
    costs = []
    for i, query in enumerate(queries):
        rivals = [j for j in range(6) if j == i or negatives[i, j]]
        p = softmax([scale**2 * cosine(query, targets[j]) for j in rivals])
        costs.append(-math.log(p[rivals.index(i)]))
    found = batch_classification(batch.images, batch.texts, negatives, scale)
    assert found.item() == pytest.approx(mean(costs), abs=1e-9)


def test_soft_triplet_equals_a_loop() -> None:
    batch, scale = sample(), 1.5
    negatives = unrelated(batch)
    items = [(i, x) for rows in (batch.images, batch.texts) for i, x in enumerate(scaled_to(scale, rows))]
    costs = []
    for place, (pair, anchor) in enumerate(items):
        partner = items[(place + 6) % 12][1]
        strangers = [x for other, x in items if negatives[pair, other] and negatives[other, pair]]
        own = squared_distance(anchor, partner)
        costs.append(mean([math.log1p(math.exp(own - squared_distance(anchor, x))) for x in strangers]))
    found = soft_triplet(batch.images, batch.texts, negatives, scale)
    assert found.item() == pytest.approx(mean(costs), abs=1e-9)


def scaled_to(length: float, rows: torch.Tensor) -> list[list[float]]:
    return (length * rows / rows.norm(dim=1, keepdim=True)).tolist()


def test_three_random_strangers_are_expected_to_cost_the_same() -> None:
    """What TIRG's code does: three of the strangers of each anchor, drawn anew each time."""
    batch, scale = sample(), 1.5
    everyone = ~torch.eye(6, dtype=torch.bool)
    items = torch.cat([torch.tensor(scaled_to(scale, rows)) for rows in (batch.images, batch.texts)])
    distances = torch.cdist(items, items).square()
    pair = torch.arange(12) % 6
    draw = torch.Generator().manual_seed(0)
    costs = []
    for _ in range(2000):
        for anchor in range(12):
            strangers = (pair != pair[anchor]).nonzero().flatten()
            drawn = strangers[torch.randperm(len(strangers), generator=draw)[:3]]
            margins = distances[anchor, (anchor + 6) % 12] - distances[anchor, drawn]
            costs.append(torch.nn.functional.softplus(margins).mean().item())
    assert soft_triplet(batch.images, batch.texts, everyone, scale).item() == pytest.approx(mean(costs), rel=0.01)


@pytest.mark.parametrize("loss", [batch_classification, soft_triplet])
def test_a_learned_scale_gets_a_gradient(loss) -> None:
    batch = sample()
    scale = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: loss(batch.images, batch.texts, ~batch.same, s), [scale])


@pytest.mark.parametrize("loss", [batch_classification, soft_triplet])
def test_queries_at_their_targets_cost_less(loss) -> None:
    batch = sample()
    near = batch.texts + 0.1 * batch.images
    everyone = ~torch.eye(6, dtype=torch.bool)
    assert loss(near, batch.texts, everyone, 3.0) < loss(batch.images, batch.texts, everyone, 3.0)
