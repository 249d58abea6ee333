"""A discriminator that moves on batches of its own, between those that the generator moves on, too."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from cmr_lightning.batch import Batch
from cmr_lightning.game import Stage, TrainingStages
from tests.building import trainer
from tests.cmr_lightning.game.playing import daml, same, two_lives
from tests.toy import Toy

STEPS, BATCHES = 3, 7
CYCLES = [["d"], ["d"], ["d", "g"], ["d"], ["d"], ["d", "g"], ["d", "g"]]
"""Who moves in each batch of an epoch: the last of it is the generator's in any case."""

fresh = partial(daml, fresh_batches=True, discriminator_steps=STEPS)


class Moves(pl.Callback):
    """Who moves on which batch, by what gradients, and how far through the training the generator is."""

    def __init__(self) -> None:
        self.moves: list[list[str]] = []
        self.images: list[set[int]] = []
        self.progress: list[float] = []
        self.encoders: list[bool] = []

    def on_train_batch_start(self, trainer: pl.Trainer, model: Any, batch: Batch, batch_idx: int) -> None:
        self.moves.append([])
        self.images.append(set(batch.image_id.tolist()))
        self.progress.append(model.progress)
        self._before = [p.detach().clone() for p in model.image_encoder.parameters()]

    def on_before_optimizer_step(self, trainer: pl.Trainer, model: Any, optimizer: torch.optim.Optimizer) -> None:
        self.moves[-1].append(model.player[0])
        gradients = {name for name, p in model.named_parameters() if p.grad is not None}
        of_the_judge = {name for name in gradients if name.startswith("alignment.discriminator.")}
        assert gradients == of_the_judge if model.player == "discriminator" else not of_the_judge

    def on_train_batch_end(self, trainer: pl.Trainer, model: Any, *_: Any) -> None:
        assert all(p.grad is None for p in model.parameters())
        self.encoders.append(not all(map(torch.equal, self._before, model.image_encoder.parameters())))


def moves(model: Any, data: Toy, *callbacks: pl.Callback, epochs: int = 2) -> tuple[Moves, int]:
    """Those of a training, and the updates that were counted."""
    seen = Moves()
    fit = trainer(max_epochs=epochs, callbacks=[*callbacks, seen])
    fit.fit(model, data)
    return seen, fit.global_step


@pytest.fixture
def seven() -> Toy:
    """Seven batches an epoch, so that the last cycle is short."""
    return Toy(num_train=16 * BATCHES)


def test_the_discriminator_moves_once_on_each_batch_and_the_generator_on_the_last_of_them(seven: Toy) -> None:
    model = fresh(seven)
    seen, updates = moves(model, seven)
    assert seen.moves == CYCLES * 2
    assert seen.encoders == [("g" in move) for move in CYCLES * 2]
    assert updates == 6
    assert set.union(*seen.images[:BATCHES]) == set(range(16 * BATCHES))  # no batch comes twice
    assert seen.progress == pytest.approx([update / 6 for update in (0, 0, 0, 1, 1, 1, 2, 3, 3, 3, 4, 4, 4, 5)])


def test_without_an_adversary_the_generator_moves_as_often(seven: Toy) -> None:
    seen, updates = moves(fresh(seven, alignment=None), seven)
    assert seen.moves == [[who for who in move if who == "g"] for move in CYCLES] * 2
    assert updates == 6


def test_stages_let_one_player_rest(seven: Toy) -> None:
    stages = [Stage("alone", 1, players=["generator"]), Stage("judge", 1, players=["discriminator"]), Stage("game")]
    seen, updates = moves(fresh(seven), seven, TrainingStages(stages), epochs=3)
    alone, judge, game = (seen.moves[epoch * BATCHES : (epoch + 1) * BATCHES] for epoch in range(3))
    assert alone == [[who for who in move if who == "g"] for move in CYCLES]
    assert judge == [["d"]] * BATCHES
    assert game == CYCLES
    assert updates == 6


@pytest.mark.parametrize("stop_at", [1, 5, 6])
def test_a_run_resumed_within_a_cycle_equals_the_undisturbed_one(stop_at: int, tmp_path: Path) -> None:
    """An epoch has six batches; validations come in the middle of a cycle, too."""
    make = partial(fresh, shares={"alignment": 0.2})
    assert same(*two_lives(make, stop_at, tmp_path, val_check_interval=2))
