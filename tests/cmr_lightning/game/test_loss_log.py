import csv
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.loggers import CSVLogger

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.game.loss_log import check_embeddings
from tests.cmr_lightning.game.playing import NotANumber, daml, trainer
from tests.toy import Toy, toy_model


def test_nan_loss_stops_and_names_the_term(data: Toy) -> None:
    with pytest.raises(UserError, match=r"after 3 updates, because the generator's loss `log` \(nan\) went out"):
        trainer(max_epochs=3).fit(toy_model(NotANumber, data), data)


def test_diverged_weights_stop_and_name_the_embeddings(data: Toy) -> None:
    model = daml(data)
    spoil = LambdaCallback(on_train_batch_end=lambda *_: [p.data.fill_(float("nan")) for p in model.parameters()])
    with pytest.raises(UserError, match=r"embeddings of `image` \(nan\), `text` \(nan\)"):
        trainer(max_epochs=3, callbacks=[spoil]).fit(model, data)


def test_recent_loss_is_the_last_one_logged_and_until_then_the_mean_so_far(tmp_path: Path) -> None:
    recent = {}
    for log_every_n_steps in (1, 2, 50):
        data = Toy()
        torch.manual_seed(0)
        model = daml(data)
        assert model.losses.recent is None
        folder = tmp_path / str(log_every_n_steps)
        trainer(max_steps=4, logger=CSVLogger(folder), log_every_n_steps=log_every_n_steps).fit(model, data)
        recent[log_every_n_steps] = model.losses.recent
    with next((tmp_path / "1").rglob("metrics.csv")).open(newline="") as file:
        losses = [float(row["train/generator/total"]) for row in csv.DictReader(file) if row["train/generator/total"]]
    assert len(losses) == 4
    means = {1: losses[3], 2: sum(losses[2:]) / 2, 50: sum(losses) / 4}
    assert recent == pytest.approx(means)


def test_large_half_precision_embeddings_are_not_taken_for_overflow() -> None:
    large = torch.full((64, 64), 1e3, dtype=torch.float16)
    check_embeddings(Embeddings(large, large), updates=1)


def test_infinite_embeddings_of_both_signs_are_refused() -> None:
    fine, infinite = torch.zeros(4, 8), torch.tensor([[1.0, torch.inf], [-torch.inf, 1.0]])
    with pytest.raises(UserError, match=r"after 7 updates, because the embeddings of `text` \(inf\) went out"):
        check_embeddings(Embeddings(fine, infinite), updates=7)
