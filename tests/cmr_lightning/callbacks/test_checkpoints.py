import shutil
from pathlib import Path
from typing import Literal

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback

from cmr_lightning.callbacks import BestCheckpoint, LastCheckpoint
from cmr_lightning.errors import UserError
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.runs.run import Run
from tests.building import trainer
from tests.toy import Toy, toy_model

Mode = Literal["max", "min"]


def fit(run: Run, mode: Mode, *scores: float, resume: bool = False, prepared_after: int = 0) -> BestCheckpoint:
    """Let epochs have these scores, and the game be under way after some of them."""
    data, best = Toy(), BestCheckpoint(run, "given", mode)

    def log_score(fit: pl.Trainer, model: pl.LightningModule) -> None:
        model.preparing = fit.current_epoch < prepared_after  # type: ignore[assignment]
        model.log("given", scores[fit.current_epoch])

    log = LambdaCallback(on_validation_epoch_end=log_score)
    settings = {"max_epochs": len(scores), "limit_val_batches": None, "num_sanity_val_steps": 0}
    fitting = trainer(enable_checkpointing=True, callbacks=[log, best, LastCheckpoint(run, {})], **settings)
    fitting.fit(toy_model(Triplet, data), data, ckpt_path=run.last if resume else None, weights_only=True)
    return best


def epochs(run: Run) -> dict[str, int]:
    return {path.name: torch.load(path, weights_only=True)["epoch"] for path in run.best.parent.iterdir()}


@pytest.mark.parametrize(
    ("mode", "scores", "best"),
    [("max", (0.2, 0.9, 0.1, 0.5), 1), ("min", (0.2, 0.9, 0.1, 0.5), 2), ("max", (0.5, 0.5, 0.5), 0)],
    ids=["largest", "smallest", "first of equals"],
)
def test_best_and_newest_have_fixed_names(tmp_path: Path, mode: Mode, scores: tuple[float, ...], best: int) -> None:
    run = Run(tmp_path)
    selection = fit(run, mode, *scores).selection()
    assert epochs(run) == {"best.ckpt": best, "last.ckpt": len(scores) - 1}
    assert (selection["value"], selection["epoch"]) == (pytest.approx(scores[best]), best)
    assert torch.load(run.best, weights_only=True)["method"] == "Triplet"


@pytest.mark.parametrize(("prepared_after", "best"), [(1, 3), (2, 3), (5, 0)])
@pytest.mark.parametrize("interrupted", [False, True])
def test_best_is_one_of_a_game_under_way(tmp_path: Path, prepared_after: int, best: int, interrupted: bool) -> None:
    """Or, in a training that ends before, the best so far."""
    run, scores = Run(tmp_path), (0.9, 0.1, 0.2, 0.5)
    if interrupted:
        fit(run, "max", *scores[:3], prepared_after=prepared_after)
    found = fit(run, "max", *scores, prepared_after=prepared_after, resume=interrupted)
    assert epochs(run)["best.ckpt"] == found.selection()["epoch"] == best
    assert found.best_model_score == pytest.approx(scores[best])


@pytest.mark.parametrize(("later", "best"), [((), 1), ((0.5,), 1), ((0.5, 0.95), 3)])
def test_best_is_remembered_where_the_folder_is_another(tmp_path: Path, later: tuple[float, ...], best: int) -> None:
    """With nothing left to train, with a worse epoch, and with a better one."""
    run, copy = Run(tmp_path / "run"), Run(tmp_path / "copy")
    scores = (0.2, 0.9)
    fit(run, "max", *scores)
    shutil.copytree(run.path, copy.path)
    shutil.rmtree(run.path)
    found = fit(copy, "max", *scores, *later, resume=True)
    assert found.best_model_path == str(copy.best)
    assert found.best_model_score == pytest.approx(max(scores + later))
    assert epochs(copy) == {"best.ckpt": best, "last.ckpt": 1 + len(later)}
    assert not run.path.exists()


def test_training_without_a_validation_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="given was never measured"):
        fit(Run(tmp_path), "max").selection()
