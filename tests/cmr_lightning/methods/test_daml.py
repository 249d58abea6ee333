from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from cmr_lightning.batch import Batch
from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.methods.daml import DAML
from tests.building import sgd, trainer
from tests.toy import IMAGE, TEXT, Toy, encoder

LABEL = torch.tensor([0, 1, 0, 2, 1, 0])
SAME = LABEL[:, None] == LABEL[None, :]


def losses(embeddings: Embeddings, label: torch.Tensor = LABEL, **settings: Any) -> dict[str, float]:
    torch.manual_seed(0)
    n = len(label)
    model = DAML(
        spec=Toy().spec,
        image_encoder=encoder,
        text_encoder=encoder,
        dim=8,
        discriminator=ModalityClassifier,
        **settings,
    )
    batch = Batch(torch.randn(n, IMAGE), torch.randn(n, TEXT), label, torch.arange(n))
    return {name: loss.item() for name, loss in model.generator_losses(batch, embeddings).items()}


@pytest.fixture
def embeddings() -> Embeddings:
    torch.manual_seed(1)
    return Embeddings(*torch.randn(2, 6, 8))


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.cdist(F.normalize(a, dim=1), F.normalize(b, dim=1)).pow(2)


def test_terms_are_those_of_the_class(embeddings: Embeddings) -> None:
    assert set(losses(embeddings)) == set(DAML.terms)
    assert DAML.adversarial_terms == ("adversarial",)


def test_intra_and_inter_are_summed_over_the_modalities(embeddings: Embeddings) -> None:
    image, text = embeddings.pair
    both = losses(embeddings)
    for term in ("intra", "inter"):
        of_images, of_texts = losses(Embeddings(image, image))[term] / 2, losses(Embeddings(text, text))[term] / 2
        assert both[term] == pytest.approx(of_images + of_texts, rel=1e-5)


def test_hinge_leaves_classes_that_are_far_apart_in_peace() -> None:
    corners = torch.eye(8)[LABEL]
    apart = Embeddings(corners, corners)  # d² between classes is 2
    assert losses(apart, margin=1.0)["inter"] == 0
    assert losses(apart, margin=2.5)["inter"] > 0


def test_without_a_margin_inter_is_unbounded(embeddings: Embeddings) -> None:
    corners = torch.eye(8)[LABEL]
    assert losses(Embeddings(corners, corners), margin=None)["inter"] < 0
    assert losses(embeddings, margin=None)["inter"] != losses(embeddings, margin=1.0)["inter"]


def test_neighbours_restrict_both_metric_terms(embeddings: Embeddings) -> None:
    """The nearest of the own class are nearer than all of it, and the hinge of the nearest others is larger."""
    everyone, nearest = losses(embeddings, margin=4.0), losses(embeddings, margin=4.0, neighbours=1)
    assert nearest["intra"] != pytest.approx(everyone["intra"])
    assert nearest["inter"] != pytest.approx(everyone["inter"])
    assert nearest["pair"] == everyone["pair"]


def test_pairing_is_with_the_own_text_or_with_those_of_the_class(embeddings: Embeddings) -> None:
    distances = squared_distances(*embeddings.pair)
    assert losses(embeddings)["pair"] == pytest.approx(distances.diagonal().mean().item(), rel=1e-4)
    by_class = ((distances * SAME).sum(1) / SAME.sum(1)).mean().item()
    assert losses(embeddings, pairing="class")["pair"] == pytest.approx(by_class, rel=1e-4)


def test_label_term_is_zero_by_default_and_trains_the_classifier_when_weighed() -> None:
    for weight, moves in ((0.0, False), (1.0, True)):
        data = Toy()
        model = DAML(
            spec=data.spec,
            image_encoder=encoder,
            text_encoder=encoder,
            dim=8,
            discriminator=ModalityClassifier,
            weights={"label": weight},
            generator_optimizer=sgd(0.1),
        )
        before = model.classifier.weight.detach().clone()
        trainer(max_epochs=1).fit(model, data)
        assert torch.equal(before, model.classifier.weight.detach()) is not moves
    assert DAML.terms["label"] == 0


@pytest.mark.parametrize("term", ["intra", "inter"])
def test_a_term_alone_does_what_its_name_says(term: str) -> None:
    """Descent on `intra` draws each class together, on `inter` it drives different classes apart."""
    data = Toy()
    weights = {name: float(name == term) for name in DAML.terms}
    torch.manual_seed(0)
    model = DAML(
        spec=data.spec,
        image_encoder=encoder,
        text_encoder=encoder,
        dim=8,
        margin=4.0,
        weights=weights,
        generator_optimizer=sgd(0.1),
    ).eval()
    part = data.part("train")
    same = part.label[:, None] == part.label[None, :]

    def mean_distance() -> float:
        with torch.no_grad():
            distances = squared_distances(*[model.embed_images(part.image)] * 2)
        return distances[same if term == "intra" else ~same].mean().item()

    before = mean_distance()
    trainer(max_epochs=3).fit(model, data)
    model.eval()
    assert mean_distance() < before if term == "intra" else mean_distance() > before
