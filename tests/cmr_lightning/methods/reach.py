"""A toy method, one batch of its data, and which parameters a loss term reaches."""

from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from cmr_lightning.batch import Batch
from cmr_lightning.encoders import TimmEncoder, WordRNN
from cmr_lightning.game.turns import frozen
from cmr_lightning.retriever import Retriever
from datamodules import CrossModalData
from tests.toy import toy_model

R = TypeVar("R", bound=Retriever)

ENCODERS = {"image_encoder", "text_encoder"}


def toy_method(method: type[R], data: CrossModalData, **kwargs: Any) -> R:
    """The method on toy data, with the alignment that it has by itself."""
    torch.manual_seed(1)
    return toy_model(method, data, **kwargs).eval()


def picture_method(method: type[R], data: CrossModalData, model: str = "test_resnet", **kwargs: Any) -> R:
    """The method on pictures and words, with small networks."""
    torch.manual_seed(0)
    image, text = partial(TimmEncoder, model=model), partial(WordRNN, embedding=8, hidden=8)
    return method(spec=data.spec, image_encoder=image, text_encoder=text, **{"dim": 16, **kwargs})


def first_batch(data: CrossModalData) -> Batch:
    """Pairs of the training part, the same each time."""
    torch.manual_seed(0)
    return next(iter(data.train_dataloader()))


def losses(model: Retriever, batch: Batch) -> dict[str, Tensor]:
    """The generator's terms, computed as in the training step."""
    embeddings = model.embed(batch)
    with frozen(*model.opponents()):
        return model.all_losses(batch, embeddings)


def reached(model: Retriever, batch: Batch, term: str) -> set[str]:
    """Children of the model that hold a parameter with a gradient of the term, or are such a parameter."""
    model.zero_grad()
    losses(model, batch)[term].backward()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and bool(p.grad.any())}
    model.zero_grad()
    return moved
