import math

import pytest
import torch
from torch import Tensor, nn

from cmr_lightning.discriminators import ConcatCritic, DotProductCritic, ShortcutEncoder
from cmr_lightning.losses import Estimator, mutual_information

CRITICS = pytest.mark.parametrize("critic", [ConcatCritic(4, 3, 16), DotProductCritic(4, 3, 16)], ids=["concat", "dot"])


@CRITICS
def test_each_score_is_that_of_its_pair_and_location(critic: nn.Module) -> None:
    critic.eval()
    x, maps = torch.randn(5, 4), torch.randn(5, 3, 2, 7)
    scores = critic(x, maps)
    assert scores.shape == (5, 5, 14)
    torch.testing.assert_close(scores[1, 3, 9], critic(x[1:2], maps[3:4, :, 1, 2])[0, 0])
    torch.testing.assert_close(scores[..., 9], critic(x, maps[:, :, 1, 2]))


def test_concat_critic_is_a_perceptron_on_the_concatenation() -> None:
    critic = ConcatCritic(4, 3, 16)
    first = torch.cat([critic.of_x.weight, critic.of_y.weight], dim=1)
    x, y = torch.randn(5, 4), torch.randn(5, 3)
    for i in range(5):
        for j in range(5):
            hidden = first @ torch.cat([x[i], y[j]]) + critic.of_x.bias
            torch.testing.assert_close(critic(x, y)[i, j], critic.of_both(hidden)[0])


def test_dot_product_critic_is_the_scaled_product_of_codes() -> None:
    critic = DotProductCritic(4, 3, 16).eval()
    x, y = torch.randn(5, 4), torch.randn(5, 3)
    torch.testing.assert_close(critic(x, y), critic.of_x(x) @ critic.of_y(y).T / 4)


def test_a_new_critic_gives_scores_of_order_one() -> None:
    torch.manual_seed(0)
    scores = DotProductCritic(512, 256, 2048)(torch.randn(32, 512), torch.randn(32, 256, 3, 3))
    assert 0.2 < scores.std().item() < 5


def test_shortcut_starts_as_a_noisy_identity_where_there_is_room() -> None:
    weight = ShortcutEncoder(3, 5).shortcut.weight.detach()
    torch.testing.assert_close(weight, torch.eye(5, 3), rtol=0, atol=0.01)
    assert bool((weight != torch.eye(5, 3)).any())
    narrow = ShortcutEncoder(5, 3).shortcut.weight.detach()
    assert not torch.allclose(narrow, torch.eye(3, 5), atol=0.01)


@CRITICS
def test_scores_stay_finite_under_autocast(critic: nn.Module) -> None:
    with torch.autocast("cpu", torch.float16):
        scores = critic(1e3 * torch.randn(5, 4), 1e3 * torch.randn(5, 3, 2, 2))
    assert bool(scores.isfinite().all())


CORRELATION, INFORMATION = 0.8, -math.log(1 - 0.8**2)


def gaussians(items: int, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two-dimensional x and y whose coordinates correlate one by one, with `INFORMATION` nats in common."""
    x, noise = torch.randn(2, items, 2, generator=draw)
    return x, CORRELATION * x + math.sqrt(1 - CORRELATION**2) * noise


def estimate(critic: nn.Module, estimator: Estimator, items: int = 1000) -> float:
    """On pairs that the critic has not seen."""
    critic.eval()
    with torch.no_grad():
        scores = critic(*gaussians(items, torch.Generator().manual_seed(1)))
    critic.train()
    return -mutual_information(scores, ~torch.eye(items, dtype=torch.bool), estimator).item()


def train(critic: nn.Module, estimator: Estimator, updates: int) -> None:
    draw, negatives = torch.Generator().manual_seed(2), ~torch.eye(64, dtype=torch.bool)
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    for _ in range(updates):
        loss = mutual_information(critic(*gaussians(64, draw)), negatives, estimator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_donsker_varadhan_comes_to_the_true_value_from_below() -> None:
    torch.manual_seed(0)
    critic = ConcatCritic(2, 2, 32)
    estimates = [estimate(critic, "dv")]
    for updates in (20, 80, 300):
        train(critic, "dv", updates)
        estimates.append(estimate(critic, "dv"))
    assert estimates == sorted(estimates)
    assert estimates[0] < 0.1
    assert 0.85 * INFORMATION < estimates[-1] < INFORMATION + 0.05


@pytest.mark.parametrize("estimator", ["jsd", "nce", "dv"])
def test_each_estimator_teaches_a_critic_to_tell_pairs_from_shuffled_ones(estimator: Estimator) -> None:
    torch.manual_seed(0)
    critic = DotProductCritic(2, 2, 32)
    train(critic, estimator, 150)
    critic.eval()
    x, y = gaussians(200, torch.Generator().manual_seed(1))
    negatives = ~torch.eye(200, dtype=torch.bool)
    with torch.no_grad():
        paired = mutual_information(critic(x, y), negatives, estimator)
        shuffled = mutual_information(critic(x, y.roll(1, 0)), negatives, estimator)
    assert paired < shuffled - 0.3
