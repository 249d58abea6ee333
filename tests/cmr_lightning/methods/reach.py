"""A toy method, one batch of its data, and which parameters a loss term reaches."""

from typing import Any, TypeVar

import torch
from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.game.turns import frozen
from cmr_lightning.retriever import Retriever
from datamodules import CrossModalData
from tests.toy import encoder

R = TypeVar("R", bound=Retriever)

ENCODERS = {"image_encoder", "text_encoder"}


def toy_method(method: type[R], data: CrossModalData, **kwargs: Any) -> R:
    """The method on toy data, against a modality classifier."""
    torch.manual_seed(1)
    model = method(
        spec=data.spec,
        image_encoder=encoder,
        text_encoder=encoder,
        **{"dim": 8, "discriminator": ModalityClassifier, **kwargs},
    )
    return model.eval()


def first_batch(data: CrossModalData) -> Batch:
    """Pairs of the training part, the same each time."""
    torch.manual_seed(0)
    return next(iter(data.train_dataloader()))


def losses(model: Retriever, batch: Batch) -> dict[str, Tensor]:
    """The generator's terms, computed as in the training step."""
    with frozen(model.discriminator):
        return model.generator_losses(batch, model.embed(batch))


def reached(model: Retriever, batch: Batch, term: str) -> set[str]:
    """Children of the model that hold a parameter with a gradient of the term, or are such a parameter."""
    model.zero_grad()
    losses(model, batch)[term].backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    model.zero_grad()
    return moved
