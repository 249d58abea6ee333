from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn

from cmr_lightning.batch import Batch
from cmr_lightning.errors import UserError
from cmr_lightning.game import Stage, TrainingStages
from cmr_lightning.game.alignments import CORAL, ModalityAdversary
from cmr_lightning.game.balance import GradientBalance
from cmr_lightning.game.ramp import ramp_height
from cmr_lightning.game.turns import frozen
from tests.building import trainer
from tests.cmr_lightning.game.playing import daml, same, two_lives
from tests.toy import Toy

EPOCHS, BATCHES = 4, 6
MEASURED = (1, 3)
"""Of 24 updates, those in which a share is measured: from a twentieth to a tenth."""


class Watch(pl.Callback):
    """At each update the weight of the alignment, and the norms of its gradient and of that of the other terms."""

    def __init__(self) -> None:
        self.weights: list[float] = []
        self.norms: list[tuple[float, float]] = []
        self.updates: list[int] = []
        self.judges: list[list[Tensor]] = []
        self.at_stake: list[bool] = []

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Batch, batch_idx: int) -> None:
        self.batch = batch
        self.judges.append([p.detach().clone() for network in model.opponents() for p in network.parameters()])

    def on_before_backward(self, trainer: pl.Trainer, model: Any, loss: Tensor) -> None:
        if model.stake is None:
            return
        embeddings, terms = model.stake
        with frozen(*model.opponents()):
            alignment = model.alignment_losses(self.batch, embeddings)["alignment"]
        own = sum(term for name, term in terms.items() if name != "alignment")
        self.norms.append((norm(alignment, embeddings.pair), norm(own, embeddings.pair)))
        self.updates.append(trainer.global_step)
        self.weights.append(terms["alignment"].item() / alignment.item() if "alignment" in terms else 0.0)
        self.at_stake.append("alignment" in terms)

    @property
    def shares(self) -> list[float]:
        """Share of the norms at each update."""
        return [weight * a / (weight * a + b) for weight, (a, b) in zip(self.weights, self.norms, strict=True)]


def norm(loss: Any, points: tuple[Tensor, Tensor]) -> float:
    gradients = torch.autograd.grad(loss, points, retain_graph=True)
    return torch.cat(gradients).norm().item()


class Noted(CSVLogger):
    """Keeps the weights that are logged, with their update."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.found: list[tuple[int | None, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:  # type: ignore[override]
        if weights := {name: value for name, value in metrics.items() if name.startswith("game/weight/")}:
            self.found.append((step, weights))


def slow(data: Toy, **settings: Any) -> Any:
    """DAML whose players learn so slowly that a share stays what it was measured as."""
    adam = {f"{player}_optimizer": partial(torch.optim.Adam, lr=1e-4) for player in ("generator", "discriminator")}
    return daml(data, **{"ramp": False, "shares": {"alignment": 0.2}, **adam, **settings})


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("alignment", [ModalityAdversary, CORAL])
def test_a_share_is_measured_while_the_term_waits_and_its_weight_is_constant_then(
    alignment: Any, accumulate: int, tmp_path: Path
) -> None:
    data, watch, logger = Toy(batch_size=16 // accumulate), Watch(), Noted(tmp_path)
    model = slow(data, alignment=alignment, accumulate=accumulate)
    trainer(max_epochs=EPOCHS, callbacks=[watch], logger=logger, log_every_n_steps=10**6).fit(model, data)
    first, end = (watch.updates.index(update) for update in MEASURED)
    measured = watch.norms[first:end]
    assert len(measured) == 2 * accumulate
    expected = 0.2 / 0.8 * sum(own for _, own in measured) / sum(norm for norm, _ in measured)
    assert watch.at_stake == [False] * end + [True] * (len(watch.updates) - end)
    assert watch.weights[end:] == pytest.approx([expected] * (len(watch.updates) - end), rel=1e-4)
    assert fmean(watch.shares[end : end + 6]) == pytest.approx(0.2, abs=0.04)
    assert [(step, [*weights]) for step, weights in logger.found] == [(3, ["game/weight/alignment"])]
    assert logger.found[0][1]["game/weight/alignment"] == pytest.approx(expected, rel=1e-4)
    for before, after in zip(watch.judges, watch.judges[accumulate:], strict=False):
        assert not any(map(torch.equal, before, after))


def test_the_ramp_and_the_plain_weight_act_on_a_share() -> None:
    weights = []
    for settings in ({}, {"weights": {"alignment": 0.5}}, {"ramp": True}):
        data, watch = Toy(), Watch()
        trainer(max_epochs=EPOCHS, callbacks=[watch]).fit(slow(data, **settings), data)
        weights.append(watch.weights)
    plain, half, rising = weights
    assert half[3] == pytest.approx(plain[3] / 2, rel=1e-4)
    assert rising[3] == pytest.approx(ramp_height(3 / 24) * plain[3], rel=1e-3)


@pytest.mark.parametrize("stop_at", [1, 2, 3, 8])
def test_a_run_resumed_before_during_or_after_the_measuring_equals_the_undisturbed_one(
    stop_at: int, tmp_path: Path
) -> None:
    make = partial(daml, shares={"alignment": 0.3}, caps={"alignment": 0.4})
    whole, resumed = two_lives(make, stop_at, tmp_path, EPOCHS)
    assert whole["shares"]["alignment"] > 0
    assert same(whole, resumed)


def test_in_stages_a_share_is_measured_where_the_term_first_has_a_weight(tmp_path: Path, data: Toy) -> None:
    stages = [
        Stage("alone", 1, players=["generator"], weights={"alignment": 0.0}),
        Stage("judge", 1, players=["discriminator"]),
        Stage("game", 5),
        Stage("end", 2, ramp=False),
    ]
    watch, logger = Watch(), Noted(tmp_path)
    trainer(max_epochs=9, callbacks=[TrainingStages(stages), watch], logger=logger).fit(slow(data), data)
    assert [step for step, _ in logger.found] == [BATCHES + 3]  # of 30 updates in that stage
    assert watch.at_stake == [False] * (BATCHES + 3) + [True] * (27 + 12)
    assert watch.weights[BATCHES + 3 :] == pytest.approx([watch.weights[-1]] * 39, rel=1e-4)


class Blind(nn.Module):
    """A discriminator that looks at nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, points: Tensor) -> Tensor:
        return self.bias.expand(len(points))


def test_a_term_without_gradient_can_have_no_share(data: Toy) -> None:
    model = slow(data, alignment=partial(ModalityAdversary, discriminator=Blind))
    message = r"model\.shares gives alignment the share 0\.2 .* norm of its gradient is 0 beside .*; give it a weight"
    with pytest.raises(UserError, match=message):
        trainer(max_epochs=EPOCHS).fit(model, data)


def test_a_share_of_nothing_is_refused(data: Toy) -> None:
    model = slow(data, weights=dict.fromkeys(("intra", "inter", "pair", "label"), 0.0))
    with pytest.raises(UserError, match=r"norm of its gradient is .* beside 0 of the other terms"):
        trainer(max_epochs=EPOCHS).fit(model, data)


def test_a_share_needs_an_end(data: Toy) -> None:
    with pytest.raises(UserError, match=r"model\.shares need .* set trainer\.max_epochs"):
        trainer(max_epochs=-1, max_time={"seconds": 20}).fit(slow(data), data)


def test_a_cap_holds_a_term_down_at_every_update(data: Toy) -> None:
    watch = Watch()
    model = daml(data, ramp=False, weights={"alignment": 1000.0}, caps={"alignment": 0.1})
    trainer(max_epochs=2, callbacks=[watch]).fit(model, data)
    assert watch.shares == pytest.approx([0.1] * 12, rel=1e-4)


def test_a_cap_that_is_not_reached_changes_nothing() -> None:
    ends = []
    for caps in ({}, {"alignment": 0.9}):
        data = Toy()
        model = daml(data, weights={"alignment": 0.1}, caps=caps)
        trainer(max_epochs=1).fit(model, data)
        ends.append(nn.utils.parameters_to_vector(model.parameters()))
    assert torch.equal(*ends)


def test_weights_of_several_terms_are_settled_one_by_one() -> None:
    balance = GradientBalance({"alignment": 0.2, "rotation": 0.5})
    balance.add({"alignment": 1.0, "rotation": 2.0}, own=4.0)
    balance.add({"alignment": 3.0, "rotation": 2.0}, own=8.0)
    restored = GradientBalance({"alignment": 0.2, "rotation": 0.5})
    restored.load_state_dict(balance.state_dict())
    for one in (balance, restored):
        assert [one.waiting(term) for term in ("alignment", "rotation", "pair")] == [True, True, False]
        assert [one.weight(term) for term in ("alignment", "rotation", "pair")] == [0, 0, 1]
        one.settle(one.sums())
        assert one.weights == pytest.approx({"alignment": 0.25 * 12 / 4, "rotation": 12 / 4})
        assert not one.waiting("alignment")
        assert one.sums().shape == (0, 2)
