from __future__ import annotations

import pytest
import torch

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.methods.miite import MIITE
from cmr_lightning.methods.triplet import Triplet
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import Toy


@pytest.mark.parametrize("term", ["triplet", "adversarial"])
def test_each_term_reaches_both_encoders_and_nothing_else(term: str) -> None:
    data = Toy(level="instance")
    assert reached(toy_method(MIITE, data), first_batch(data), term) == ENCODERS


def test_captions_of_one_image_are_not_negatives() -> None:
    data = Toy(captions=5, level="instance")
    batch = first_batch(data)
    batch = batch._replace(image_id=torch.zeros_like(batch.image_id))
    assert losses(toy_method(MIITE, data), batch)["triplet"] == 0


def test_without_its_adversary_it_is_the_triplet_baseline() -> None:
    data = Toy()
    batch = first_batch(data)
    baseline = losses(toy_method(Triplet, data, discriminator=None), batch)
    assert torch.equal(losses(toy_method(MIITE, data), batch)["triplet"], baseline["triplet"])


def test_the_discriminator_sees_directions_alone() -> None:
    data = Toy()
    model = toy_method(MIITE, data)
    images, texts = model.embed(first_batch(data)).pair
    seen = model.modality_logits(Embeddings(images, texts))
    stretched = model.modality_logits(Embeddings(7 * images, texts * torch.rand(len(texts), 1)))
    assert torch.allclose(torch.cat(seen), torch.cat(stretched), atol=1e-5)
    assert not torch.allclose(model.discriminator(images), model.discriminator(7 * images), atol=1e-5)


@pytest.mark.parametrize("adversary", ["reversal", "flipped"])
def test_the_adversary_raises_the_loss_of_the_discriminator(adversary: str) -> None:
    data = Toy()
    model, batch = toy_method(MIITE, data, adversary=adversary), first_batch(data)
    encoders = [p for name in sorted(ENCODERS) for p in getattr(model, name).parameters()]
    before = model.discriminator_losses(batch, model.embed(batch))["modality"].item()
    gradients = torch.autograd.grad(losses(model, batch)["adversarial"], encoders)
    with torch.no_grad():
        for parameter, gradient in zip(encoders, gradients, strict=True):
            parameter -= 0.01 * gradient
    assert model.discriminator_losses(batch, model.embed(batch))["modality"].item() > before
