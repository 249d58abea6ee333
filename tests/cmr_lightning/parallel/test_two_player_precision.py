import csv
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor
from torch.nn.utils import parameters_to_vector

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from tests.cmr_lightning.game.playing import Norms, NotANumber, Pull, daml, trainer
from tests.toy import Toy, toy_model


def fp16(growth_interval: int) -> TwoPlayerPrecision:
    """fp16 on the CPU, from a scale at which nothing overflows."""
    precision = TwoPlayerPrecision("cpu")
    for player in precision._scalers:
        precision._scalers[player] = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=growth_interval)
    return precision


def test_fp16_keeps_a_scale_for_each_player(data: Toy) -> None:
    precision = fp16(growth_interval=2)
    model = daml(data, discriminator_steps=2, accumulate=2, generator_clip=1.0)
    trainer(max_epochs=1, plugins=[precision]).fit(model, data)
    scales = {player: scaler.get_scale() for player, scaler in precision._scalers.items()}
    assert scales == {"generator": 8 * 2**1, "discriminator": 8 * 2**3}  # after 3 and 6 steps, doubled at every second
    restored = TwoPlayerPrecision("cpu")
    restored.load_state_dict(precision.state_dict())
    assert {p: s.get_scale() for p, s in restored._scalers.items()} == scales


def test_fp16_gradients_equal_fp32_gradients_at_the_step() -> None:
    """The scale of one player never leaks into the gradients of the other."""
    half, single = Norms(), Norms()
    for plugins, watch in (([fp16(growth_interval=1)], half), ([], single)):
        model = daml(Toy(), discriminator_steps=2, accumulate=3)
        torch.manual_seed(0)
        trainer(max_epochs=1, plugins=plugins, callbacks=[watch]).fit(model, Toy())
    for player in ("generator", "discriminator"):
        assert half.norms[player] == pytest.approx(single.norms[player], rel=0.05)


def test_fp16_overflow_costs_a_player_one_update_and_is_counted(tmp_path: Path, data: Toy) -> None:
    precision, model = fp16(growth_interval=1000), toy_model(NotANumber, data)
    weights = [parameters_to_vector(model.parameters())]
    watch = LambdaCallback(on_train_batch_end=lambda *_: weights.append(parameters_to_vector(model.parameters())))
    logging = {"logger": CSVLogger(tmp_path), "log_every_n_steps": 6}
    trainer(max_epochs=1, plugins=[precision], callbacks=[watch], **logging).fit(model, data)
    assert [not torch.equal(*states) for states in pairwise(weights)] == [True, True, True, False, True, True]
    assert precision.skipped == {"generator": 1}
    assert precision._scalers["generator"].get_scale() == 4
    assert precision._scalers["discriminator"].get_scale() == 8
    with next(tmp_path.rglob("metrics.csv")).open(newline="") as file:
        assert [row["train/generator/skipped"] for row in csv.DictReader(file) if row["train/generator/total"]] == ["1"]


class NeverANumber(Pull):
    """Its term is never a number."""

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"pair": super().generator_losses(batch, embeddings)["pair"] * torch.nan}


def test_fp16_gives_up_where_no_scale_helps(data: Toy) -> None:
    fit = trainer(max_epochs=1, plugins=[fp16(growth_interval=1000)])
    with pytest.raises(UserError, match="generator's gradients went out of range 4 times, and no scale helps"):
        fit.fit(toy_model(NeverANumber, data), data)
