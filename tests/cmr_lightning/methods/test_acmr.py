from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from cmr_lightning.losses import modality_loss
from cmr_lightning.methods.acmr import ACMR
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import Toy


@pytest.mark.parametrize(
    ("term", "parts"),
    [("label", {*ENCODERS, "classifier"}), ("pair", ENCODERS), ("adversarial", ENCODERS)],
)
def test_each_term_reaches_its_part_of_the_generator(term: str, parts: set[str]) -> None:
    data = Toy()
    assert reached(toy_method(ACMR, data), first_batch(data), term) == parts


def test_label_classifier_is_trained() -> None:
    """In the public code it is in no optimizer."""
    data = Toy()
    model = toy_method(ACMR, data)
    before = model.classifier.weight.detach().clone()
    ours = {id(p) for p in model.configure_optimizers()[0][0].param_groups[0]["params"]}
    assert {id(p) for p in model.classifier.parameters()} <= ours
    fit(model, data)
    assert not torch.equal(before, model.classifier.weight)


def test_adversary_moves_the_encoders_and_deceives_the_discriminator() -> None:
    """In the public code it reaches the discriminator only."""
    data = Toy()
    model = toy_method(ACMR, data)
    batch = first_batch(data)
    optimizer = torch.optim.SGD(model.players()["generator"], lr=0.1)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = modality_loss(*model.modality_logits(model.embed(batch))).item()
    losses(model, batch)["adversarial"].backward()
    optimizer.step()
    moved = {name.split(".")[0] for name, p in model.named_parameters() if not torch.equal(before[name], p)}
    assert moved == ENCODERS
    assert modality_loss(*model.modality_logits(model.embed(batch))).item() > loss


def test_margin_and_negatives_reach_the_pair_term() -> None:
    data = Toy()
    batch = first_batch(data)

    def pair(**kwargs: float) -> Tensor:
        model = toy_method(ACMR, data, **kwargs)
        return losses(model, batch)["pair"].detach()

    attraction = pair(negatives=0.0)
    near, far = pair(negatives=1.0, margin=10.0) - attraction, pair(negatives=1.0, margin=20.0) - attraction
    assert far - near == pytest.approx(20.0, rel=1e-4)  # both directions, every item of another class within the margin
    assert pair(negatives=0.5, margin=10.0) - attraction == pytest.approx(near.item() / 2, rel=1e-4)


def test_learns_with_several_labels() -> None:
    data = Toy(multi_label=True)
    model = toy_method(ACMR, data, generator_optimizer=lambda p: torch.optim.Adam(p, lr=1e-2))
    fit(model, data, epochs=8)
    assert model.measurement is not None
    assert model.measurement.metrics["map@all/cos/label"]["mean"] > 0.7


def fit(model: ACMR, data: Toy, epochs: int = 1) -> None:
    pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(model.train(), data)
