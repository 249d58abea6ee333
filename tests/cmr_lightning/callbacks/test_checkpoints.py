from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from cmr_lightning.callbacks import BestCheckpoint, LastCheckpoint
from cmr_lightning.methods.collapsed import Collapsed
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy, encoder


def test_both_keep_their_states_where_lightning_would(tmp_path: Path) -> None:
    run = Run(tmp_path)
    keys = {
        ModelCheckpoint.state_key.fget(c): c.state_key
        for c in (BestCheckpoint(run, "told", "max"), LastCheckpoint(run))
    }
    assert len(keys) == 2
    assert all(key == own for key, own in keys.items())


class Scores(pl.Callback):
    """A score that is told beforehand, an epoch after the other."""

    def __init__(self, *scores: float) -> None:
        self.scores = scores

    def on_validation_epoch_end(self, trainer: pl.Trainer, model: Any) -> None:
        model.log("told", self.scores[trainer.current_epoch])


def fit(
    run: Run,
    model: pl.LightningModule,
    data: Toy,
    mode: Literal["max", "min"],
    scores: tuple[float, ...],
    resume: bool = False,
) -> BestCheckpoint:
    best = BestCheckpoint(run, "told", mode)
    callbacks = [Scores(*scores), best, LastCheckpoint(run)]
    trainer(
        max_epochs=len(scores),
        enable_checkpointing=True,
        limit_val_batches=None,
        num_sanity_val_steps=0,
        callbacks=callbacks,
    ).fit(model, data, ckpt_path=run.last if resume else None, weights_only=True)
    return best


def epochs(run: Run) -> dict[str, int]:
    return {path.name: torch.load(path, weights_only=True)["epoch"] for path in run.best.parent.iterdir()}


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 2)])
def test_best_and_newest_are_kept_under_fixed_names(tmp_path: Path, mode: Literal["max", "min"], best: int) -> None:
    data, run = Toy(), Run(tmp_path)
    fit(
        run,
        Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8),
        data,
        mode,
        (0.2, 0.9, 0.1, 0.5),
    )
    assert epochs(run) == {"best.ckpt": best, "last.ckpt": 3}


@pytest.mark.parametrize(("later", "best"), [((), 1), ((0.5,), 1), ((0.5, 0.95), 3)])
def test_best_is_remembered_where_the_folder_is_another(tmp_path: Path, later: tuple[float, ...], best: int) -> None:
    """With nothing left to train, with a worse epoch, and with a better one."""
    data, run, copy = Toy(), Run(tmp_path / "run"), Run(tmp_path / "copy")
    scores = (0.2, 0.9)
    fit(run, Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8), data, "max", scores)
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(run.path)
    found = fit(
        copy,
        Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8),
        data,
        "max",
        scores + later,
        resume=True,
    )
    assert found.best_model_path == str(copy.best)
    assert found.best_model_score == pytest.approx(max(scores + later))
    assert epochs(copy) == {"best.ckpt": best, "last.ckpt": 1 + len(later)}
    assert not run.path.exists()


def test_of_equal_scores_the_first_is_kept(tmp_path: Path) -> None:
    data, run = Toy(), Run(tmp_path)
    fit(run, Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8), data, "max", (0.5, 0.5, 0.5))
    assert epochs(run) == {"best.ckpt": 0, "last.ckpt": 2}


def test_methods_that_make_no_update_are_saved_too(tmp_path: Path) -> None:
    data, run = Toy(), Run(tmp_path)
    fit(run, Collapsed(data.spec), data, "max", (0.1,))
    assert epochs(run) == {"best.ckpt": 0, "last.ckpt": 0}


def test_checkpoint_says_which_method_wrote_it(tmp_path: Path) -> None:
    data, run = Toy(), Run(tmp_path)
    fit(run, Triplet(spec=data.spec, image_encoder=encoder, text_encoder=encoder, dim=8), data, "max", (0.5,))
    assert torch.load(run.best, weights_only=True)["method"] == "Triplet"
