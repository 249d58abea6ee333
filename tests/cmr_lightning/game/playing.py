"""Small games that the tests of this folder share."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytorch_lightning as pl
import torch
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
