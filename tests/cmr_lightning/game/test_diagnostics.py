import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.loggers import CSVLogger

from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.game.diagnostics import gradient_share
from cmr_lightning.game.held_out import held_out_figures
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.triplet import Triplet
from tests.building import trainer
from tests.toy import Toy, toy_model

IN_VALIDATION = {"modality_gap", "length_ratio", "mmd", "probe_accuracy", "probe_accuracy_raw"}
OF_AN_ADVERSARY = {"discriminator_accuracy", "discriminator_entropy"}


def test_gradient_share_equals_that_by_hand() -> None:
    """For f = 2 sum(image) + 3 sum(text), which aligns, beside g = sum(image²)."""
    image = torch.tensor([[1.0, -2.0]], requires_grad=True)
    text = torch.tensor([[0.5, 0.5]], requires_grad=True)
    own = image.pow(2).sum()
    against = math.sqrt(2 * 2**2 + 2 * 3**2)
    others = math.sqrt(2.0**2 + 4.0**2)
    share = gradient_share([image, text], 2 * image.sum() + 3 * text.sum(), [own])
    assert share == pytest.approx(against / (against + others))
    own.backward()  # the graph is still there
    assert image.grad is not None


def test_gradient_share_of_one_side_only() -> None:
    image, constant = torch.ones(1, 2, requires_grad=True), torch.ones(())
    points = [image, image * 1]
    assert gradient_share(points, constant, [image.sum()]) == 0
    assert gradient_share(points, image.sum(), []) == 1
    assert gradient_share(points, constant, [torch.ones((), requires_grad=True)]) == 0


class Noted(CSVLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[tuple[int, set[str]]] = []

    def log_metrics(self, metrics, step=None) -> None:  # type: ignore[no-untyped-def]
        game = {name.removeprefix("game/") for name in metrics if name.startswith("game/")}
        if game:
            self.rows.append((step, game))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_looks_every_few_generator_updates_at_the_end_of_epochs_and_in_validations(
    tmp_path: Path, accumulate: int
) -> None:
    data, logger = Toy(batch_size=16 // accumulate), Noted(tmp_path)
    model = toy_model(DAML, data, accumulate=accumulate)
    watching = AdversarialDiagnostics(every_n_updates=4)
    trainer(max_epochs=2, limit_val_batches=1.0, logger=logger, callbacks=[watching]).fit(model, data)
    training, validation = {"batch_gap", "gradient_share"}, IN_VALIDATION | OF_AN_ADVERSARY
    updates = [(0, {"batch_gap"}), (4, training), (5, training), (6, validation)]  # the ramp begins at 0
    assert logger.rows == [*updates, (8, training), (11, training), (12, validation)]


def test_without_an_adversary_there_are_the_gap_and_the_probe(tmp_path: Path, data: Toy) -> None:
    logger, model = Noted(tmp_path), toy_model(Triplet, data)
    trainer(max_epochs=1, limit_val_batches=1.0, logger=logger, callbacks=[AdversarialDiagnostics()]).fit(model, data)
    assert logger.rows == [(0, {"batch_gap"}), (5, {"batch_gap"}), (6, IN_VALIDATION)]
    assert model.game.figures["state"] == "none"
    assert model.game.figures["gradient_share"] is None


def test_looking_does_not_change_the_training() -> None:
    weights = []
    for callbacks in ([], [AdversarialDiagnostics(every_n_updates=1)]):
        data = Toy()
        torch.manual_seed(3)
        model = toy_model(DAML, data)
        trainer(max_epochs=2, limit_val_batches=1.0, callbacks=callbacks).fit(model, data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)


def test_share_is_that_of_the_second_half_also_where_training_was_resumed_and_its_checkpoint_has_its_figures(
    tmp_path: Path,
) -> None:
    def run(epochs: int, name: str, resume: Path | None = None) -> tuple[DAML, Path]:
        data, folder = Toy(), tmp_path / name
        keep = ModelCheckpoint(folder, filename="last", save_on_train_epoch_end=False)
        pl.seed_everything(3, verbose=False)
        model = toy_model(DAML, data, ramp=False)
        settings: dict[str, Any] = {"limit_val_batches": 1.0, "enable_checkpointing": True}
        watching = AdversarialDiagnostics(every_n_updates=2)
        trainer(max_epochs=epochs, callbacks=[keep, watching], **settings).fit(model, data, ckpt_path=resume)
        return model, folder / "last.ckpt"

    whole, _ = run(3, "whole")
    first, after_one = run(1, "first")
    resumed, path = run(3, "resumed", after_one)
    assert resumed.game.state_dict() == whole.game.state_dict()
    assert torch.load(path, weights_only=True)["game"] == whole.game.state_dict()
    assert torch.load(after_one, weights_only=True)["game"] == first.game.state_dict() != whole.game.state_dict()
    noted = whole.game.state_dict()["shares"]["alignment"]
    assert [update for update, _ in noted] == [0, 2, 4, 5, 6, 8, 10, 11, 12, 14, 16, 17]
    late = [share for update, share in noted if update >= 17 / 2]
    assert whole.game.figures["gradient_share"] == whole.game.share("alignment") == pytest.approx(sum(late) / len(late))
    assert whole.game.figures == {**whole.game.figures, **held_out_figures(whole.eval())}  # of the weights of that time


def test_checkpoint_of_a_run_that_nobody_watched_says_nothing_of_its_game() -> None:
    model = toy_model(DAML, Toy())
    model.game.note("alignment", 0, 0.5)
    model.game.load_state_dict({})
    assert (model.game.figures, model.game.share("alignment")) == ({}, None)
