from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from cmr_lightning.batch import Batch
from cmr_lightning.losses import binary_entropy, cross_modal_projection, projection_classification
from cmr_lightning.methods.itmeetsal import ITMeetsAL
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import CLASSES, Toy


@pytest.mark.parametrize(
    ("term", "expected"),
    [
        ("kl", ENCODERS),
        ("triplet", ENCODERS),
        ("label", ENCODERS | {"classifier"}),
        ("calibration", ENCODERS | {"classifier"}),
        ("adversarial", ENCODERS),
    ],
)
@pytest.mark.parametrize("level", ["label", "instance"])
@pytest.mark.parametrize("form", ["plain", "cmpc"])
def test_which_term_reaches_which_parameters(term: str, expected: set[str], level: str, form: str) -> None:
    data = Toy(level=level)
    assert reached(toy_method(ITMeetsAL, data, label_form=form), first_batch(data), term) == expected


def entropy(model: ITMeetsAL, batch: Batch) -> Tensor:
    return binary_entropy(torch.cat(model.modality_logits(model.embed(batch)))).mean()


def test_the_adversarial_term_is_the_entropy_term() -> None:
    data = Toy()
    model, batch = toy_method(ITMeetsAL, data), first_batch(data)
    assert model.adversary == "entropy"
    assert losses(model, batch)["adversarial"].item() == pytest.approx(-entropy(model, batch).item())


def test_a_step_of_the_encoders_raises_the_entropy_of_an_undecided_discriminator() -> None:
    data = Toy()
    model, batch = toy_method(ITMeetsAL, data), first_batch(data)
    decide(model, batch)
    logits = torch.cat(model.modality_logits(model.embed(batch)))
    assert 0.3 < logits.abs().max() < 3
    encoders = [p for name in sorted(ENCODERS) for p in getattr(model, name).parameters()]
    before = entropy(model, batch).item()
    gradients = torch.autograd.grad(losses(model, batch)["adversarial"], encoders)
    with torch.no_grad():
        for parameter, gradient in zip(encoders, gradients, strict=True):
            parameter -= 0.1 * gradient
    assert entropy(model, batch).item() > before + 1e-4


def decide(model: ITMeetsAL, batch: Batch) -> None:
    """Let the discriminator learn a little."""
    optimizer = torch.optim.SGD(model.discriminator.parameters(), lr=0.5)
    for _ in range(10):
        optimizer.zero_grad()
        model.discriminator_losses(batch, model.embed(batch).detach())["modality"].backward()
        optimizer.step()


def test_the_entropy_term_rests_at_one_half_and_vanishes_where_the_discriminator_is_certain() -> None:
    data = Toy()
    model, batch = toy_method(ITMeetsAL, data, discriminator=lambda dim: torch.nn.Sequential(Sum())), first_batch(data)
    for gain, vanishes in ((0.0, True), (1.0, False), (1e4, True)):
        model.discriminator[0].gain = gain
        images = model.embed_images(batch.image).detach().requires_grad_()
        term = model.adversarial_loss(replace(model.embed(batch), image=images))
        (gradient,) = torch.autograd.grad(term, images)
        assert bool(gradient.abs().max() < 1e-6) == vanishes


class Sum(torch.nn.Module):
    gain = 1.0

    def forward(self, embeddings: Tensor) -> Tensor:
        return self.gain * (embeddings.sum(1) + embeddings.shape[1])


def test_captions_of_one_image_are_not_negatives() -> None:
    data = Toy(captions=5, level="instance")
    batch = first_batch(data)
    batch = batch._replace(image_id=torch.zeros_like(batch.image_id))
    assert losses(toy_method(ITMeetsAL, data), batch)["triplet"] == 0


@pytest.mark.parametrize(("level", "classes"), [("label", CLASSES), ("instance", 96)])
def test_classes_are_the_labels_or_the_training_images(level: str, classes: int) -> None:
    data = Toy(captions=2, level=level)
    model, batch = toy_method(ITMeetsAL, data), first_batch(data)
    assert model.classifier.out_features == classes
    target = batch.label if level == "label" else batch.image_id
    expected = sum(cross_entropy(f @ model.classifier.weight.T, target) for f in model.embed(batch).pair)
    assert isinstance(expected, Tensor)
    assert losses(model, batch)["label"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_label_form_and_kl_intra_do_what_they_say() -> None:
    data = Toy()
    plain, other = toy_method(ITMeetsAL, data), toy_method(ITMeetsAL, data, label_form="cmpc", kl_intra=True)
    batch = first_batch(data)
    images, texts = plain.embed(batch).pair
    same = plain.related(batch)
    label = projection_classification(images, texts, plain.classifier.weight, batch.label)
    intra = cross_modal_projection(images, images, same) + cross_modal_projection(texts, texts, same)
    assert losses(other, batch)["label"].item() == pytest.approx(label.item())
    assert losses(other, batch)["kl"].item() == pytest.approx((losses(plain, batch)["kl"] + intra).item())


@pytest.mark.parametrize("form", ["plain", "cmpc"])
def test_items_with_several_labels_train(form: str) -> None:
    data = Toy(multi_label=True)
    model = toy_method(ITMeetsAL, data, label_form=form)
    assert reached(model, first_batch(data), "label") == ENCODERS | {"classifier"}


def test_terms_without_weight_leave_the_classifier_alone() -> None:
    data = Toy(level="instance")
    model = toy_method(ITMeetsAL, data, weights={"label": 0.0, "calibration": 0.0})
    before = model.classifier.weight.clone()
    trainer(max_epochs=1).fit(model.train(), data)
    assert torch.equal(model.classifier.weight, before)
