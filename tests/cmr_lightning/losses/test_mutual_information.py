import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from cmr_lightning.losses import Estimator, donsker_varadhan, mutual_information, noise_contrastive

from .loops import mean

ESTIMATORS: tuple[Estimator, ...] = ("jsd", "nce", "dv")


def strangers(items: int) -> Tensor:
    """All pairs but the own ones are negatives."""
    return ~torch.eye(items, dtype=torch.bool)


@pytest.mark.parametrize(("estimator", "best"), [("jsd", -2 * math.log(2)), ("nce", 0.0), ("dv", -200.0)])
def test_a_critic_that_knows_all(estimator: Estimator, best: float) -> None:
    known = torch.where(strangers(6), -100.0, 100.0)
    assert mutual_information(known, strangers(6), estimator).item() == pytest.approx(best, abs=1e-5)


def information(correlation: float, dims: int = 2) -> float:
    """Mutual information in nats of two Gaussian vectors whose coordinates correlate one by one."""
    return -dims / 2 * math.log(1 - correlation**2)


def best_scores(correlation: float, believed: float | None = None) -> Tensor:
    """log p(x, y) / p(x) p(y) of all pairs of 1,500 drawn x and y: no critic does better.

    A critic that believes in another correlation does worse.
    """
    draw = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 1500, 2, generator=draw, dtype=torch.float64)
    y = correlation * x + math.sqrt(1 - correlation**2) * noise
    r = correlation if believed is None else believed
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None, :]
    return (2 * r * x @ y.T - r**2 * squares) / (2 * (1 - r**2)) + information(r)


CORRELATIONS = (0.0, 0.3, 0.6, 0.8)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimates_rise_with_the_mutual_information(estimator: Estimator) -> None:
    values = [-mutual_information(best_scores(r), strangers(1500), estimator).item() for r in CORRELATIONS]
    assert values == sorted(values)
    assert min(b - a for a, b in pairwise(values)) > 0.02


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_donsker_varadhan_reaches_the_true_value_and_no_other_critic_passes_it(correlation: float) -> None:
    scores, negatives = best_scores(correlation), strangers(1500)
    best = -donsker_varadhan(scores, negatives).item()
    assert best == pytest.approx(information(correlation), abs=0.08)
    for other in (scores / 2, 1.5 * scores, -scores, *(best_scores(correlation, believed=r) for r in CORRELATIONS)):
        assert -donsker_varadhan(other, negatives).item() <= best + 0.01


def test_noise_contrastive_stays_below_the_true_value_and_below_what_a_batch_can_tell() -> None:
    scores = best_scores(0.8)
    for items in (2, 20, 200):
        batches = scores[:1400].unfold(0, items, items).unfold(1, items, items).diagonal().permute(2, 0, 1)
        estimate = math.log(items) - mean([noise_contrastive(s, strangers(items)).item() for s in batches])
        assert 0 < estimate < min(math.log(items), information(0.8)) + 0.05
