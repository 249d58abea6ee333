"""Each alignment in a whole training: who learns by what, and that it is the same after a stop, or at weight 0."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.errors import UserError
from cmr_lightning.game.alignments import (
    CORAL,
    MMD,
    AlignmentFactory,
    ClassCentring,
    ConditionalAdversary,
    ModalityAdversary,
    Sinkhorn,
    WassersteinAdversary,
)
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.info_nce import InfoNCE
from tests.building import trainer, without_dropout
from tests.cmr_lightning.game.playing import daml, same, two_lives
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, reached
from tests.toy import CLASSES, Toy, toy_model

weak = partial(ModalityClassifier, dropout=0.1)
ADVERSARIES: dict[str, AlignmentFactory] = {
    "classifier": partial(ModalityAdversary, discriminator=weak, mode="flipped", r1=1.0),
    "classifier of predicted classes": partial(ConditionalAdversary, classes="predicted", r1=1.0, space="unit"),
    "classifier beside classes": partial(ConditionalAdversary, condition="concatenation", mode="entropy"),
    "critic": partial(WassersteinAdversary, space="unit"),
    "critic of classes": partial(WassersteinAdversary, classes="predicted"),
}
ALIGNMENTS: dict[str, AlignmentFactory] = {
    **ADVERSARIES,
    "MMD": MMD,
    "CORAL": CORAL,
    "Sinkhorn": Sinkhorn,
    "class means": partial(ClassCentring, classes="predicted"),
}
each = pytest.mark.parametrize("alignment", ALIGNMENTS.values(), ids=ALIGNMENTS)


@each
def test_stopped_and_resumed_it_ends_as_undisturbed(alignment: AlignmentFactory, tmp_path: Path) -> None:
    """With a share of the gradient, random penalties and dropout, bit for bit; an epoch has six batches."""
    make = partial(daml, alignment=alignment, shares={"alignment": 0.2}, discriminator_steps=2, weights={"label": 1.0})
    assert same(*two_lives(make, 8, tmp_path))


@each
def test_it_teaches_the_encoders_and_nothing_else(alignment: AlignmentFactory, data: Toy) -> None:
    """Not the classifier, either, from which it may have the classes."""
    assert reached(daml(data, alignment=alignment), first_batch(data), "alignment") == ENCODERS


@pytest.mark.parametrize("alignment", ADVERSARIES.values(), ids=ADVERSARIES)
def test_its_discriminator_learns_by_its_own_losses(alignment: AlignmentFactory, data: Toy) -> None:
    model, batch = daml(data, alignment=alignment), first_batch(data)
    judge = set(model.players()["discriminator"])
    assert judge == set(model.alignment.discriminator.parameters())
    assert [set(o.param_groups[0]["params"]) & judge for o in model.configure_optimizers()[0]] == [set(), judge]
    sum(model.discriminator_losses(batch, model.embed(batch).detach()).values()).backward()
    assert {p for p in model.parameters() if p.grad is not None} == judge


@each
def test_at_weight_0_the_encoders_learn_as_without_it_while_its_discriminator_watches(
    alignment: AlignmentFactory, data: Toy
) -> None:
    alone, watched = daml(data, alignment=None), daml(data, alignment=alignment, weights={"alignment": 0.0})
    alone.load_state_dict(watched.state_dict(), strict=False)
    judge = {name: p.detach().clone() for name, p in watched.named_parameters() if name.startswith("alignment.")}
    for model in (alone, watched):
        without_dropout(model)  # for which the discriminator may draw numbers, too
        trainer(max_epochs=1).fit(model, Toy())
    after = watched.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in alone.state_dict().items())
    unmoved = {name for name, before in judge.items() if torch.equal(before, after[name])}
    assert len(unmoved) <= len(judge) / 4  # the last bias of a critic's score has no gradient


@pytest.mark.parametrize(
    "alignment",
    [
        ConditionalAdversary,
        partial(WassersteinAdversary, classes="labels"),
        partial(ClassCentring, classes="predicted"),
    ],
    ids=["classifier", "critic", "class means"],
)
def test_classes_are_refused_where_every_image_is_its_own(alignment: AlignmentFactory) -> None:
    with pytest.raises(UserError, match=r"model\.alignment is \w+, which is told .* used without classes"):
        toy_model(InfoNCE, Toy(level="instance"), alignment=alignment)


def test_a_method_that_predicts_no_classes_can_tell_none(data: Toy) -> None:
    model = toy_model(InfoNCE, data, alignment=partial(ConditionalAdversary, classes="predicted"))
    with pytest.raises(UserError, match=r"InfoNCE has no classifier .* model\.alignment\.init_args\.classes to labels"):
        trainer(max_epochs=1).fit(model, data)


def test_classes_are_labels_in_equal_parts_or_what_the_classifier_predicts() -> None:
    data = Toy(multi_label=True)
    batch = first_batch(data)
    batch.label[3] = 0  # an item without any label

    def told(source: str) -> tuple[Any, tuple[Tensor, Tensor]]:
        model = toy_model(DAML, data, alignment=partial(ConditionalAdversary, classes=source))
        embeddings = model.eval().embed(batch)
        classes = model.classes(embeddings, (batch.label, batch.label))
        assert classes is not None
        assert not any(p.requires_grad for p in classes)
        return (model, embeddings), classes

    _, (of_images, of_texts) = told("labels")
    assert torch.equal(of_images, of_texts)
    assert {*of_images.unique().tolist()} == {0.0, 0.5, 1.0}
    assert of_images.sum(1).tolist() == [0.0 if row == 3 else 1.0 for row in range(16)]
    (model, embeddings), predicted = told("predicted")
    for points, classes in zip(embeddings.pair, predicted, strict=True):
        assert classes.shape == (16, CLASSES)
        torch.testing.assert_close(classes, model.classifier(points).softmax(1))
