"""Small games that the tests of this folder share."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import paired_difference
from cmr_lightning.methods.daml import DAML
from cmr_lightning.retriever import Retriever
from tests import building
from tests.toy import Toy, toy_model


def daml(data: Toy, **kwargs: Any) -> DAML:
    """DAML on toy data, the same each time."""
    torch.manual_seed(1)
    return toy_model(DAML, data, **kwargs)


def trainer(**settings: Any) -> pl.Trainer:
    """A quiet trainer that validates."""
    return building.trainer(**{"limit_val_batches": 1.0, **settings})


class Pull(Retriever):
    """Only draws pairs together: a loss that is a mean over pairs, so batches can be put together."""

    terms: ClassVar[Mapping[str, float]] = {"pair": 1.0}

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        return {"pair": paired_difference(*embeddings.pair)}


def two_lives(
    make: Callable[[Toy], Retriever], stop_at: int, folder: Path, epochs: int = 2, **settings: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """How a training and its test end, and how they do if it is stopped after so many batches and resumed."""

    def keep(trainer: pl.Trainer, *_: Any) -> None:
        if trainer.fit_loop.epoch_loop.total_batch_idx + 1 == stop_at:
            trainer.save_checkpoint(folder / "stop.ckpt")

    def live(resume: Path | None = None) -> dict[str, Any]:
        data = Toy()
        model = make(data)
        fit = trainer(max_epochs=epochs, callbacks=[LambdaCallback(on_train_batch_end=keep)], **settings)
        pl.seed_everything(5, verbose=False)
        if resume:
            torch.rand(17)  # a resumed process has another random history
        fit.fit(model, data, ckpt_path=resume)
        fit.test(model, data, verbose=False)
        states = {name: value.clone() for name, value in model.state_dict().items()}
        return {"states": states, "shares": model.balance.weights, "metrics": model.measurement.metrics}

    return live(), live(resume=folder / "stop.ckpt")


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two trainings ended alike, bit for bit."""
    equal = all(torch.equal(value, other["states"][name]) for name, value in one["states"].items())
    return equal and (one["shares"], one["metrics"]) == (other["shares"], other["metrics"])


class Norms(pl.Callback):
    """Gradient norms at the steps, seen after clipping: hooks of callbacks run before those of the module."""

    def __init__(self) -> None:
        self.norms: dict[str, list[float]] = {"generator": [], "discriminator": []}

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        clip = pl_module.on_before_optimizer_step

        def clip_and_look(optimizer: torch.optim.Optimizer) -> None:
            clip(optimizer)
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            self.norms[pl_module.player].append(torch.stack([g.norm() for g in gradients]).norm().item())

        pl_module.on_before_optimizer_step = clip_and_look


class NotANumber(Pull):
    """Its term `log` is not a number from the third update on."""

    terms: ClassVar[Mapping[str, float]] = {"pair": 1.0, "log": 1.0}

    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        argument = torch.tensor(-1.0 if self.global_step == 3 else 1.0)
        return {**super().generator_losses(batch, embeddings), "log": argument.log() + embeddings.image.mean()}
