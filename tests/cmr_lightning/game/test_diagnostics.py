import math
from pathlib import Path

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger

from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.game.diagnostics import gradient_share, modality_gap
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.triplet import Triplet
from tests.building import trainer
from tests.toy import Toy, toy_model


def test_gap_is_the_distance_of_the_centroids_of_unit_vectors() -> None:
    image = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    text = torch.tensor([[-2.0, 0.0], [0.0, -1.0]])
    assert modality_gap(Embeddings(image, text)) == pytest.approx(math.sqrt(2))
    assert modality_gap(Embeddings(image, 7 * image)) == pytest.approx(0)
    assert modality_gap(Embeddings(image[:1], text[:1])) == pytest.approx(2)


def test_gradient_share_equals_that_by_hand() -> None:
    """For f = 2 sum(image) + 3 sum(text), adversarial, against g = sum(image²)."""
    image = torch.tensor([[1.0, -2.0]], requires_grad=True)
    text = torch.tensor([[0.5, 0.5]], requires_grad=True)
    terms = {"adversarial": 2 * image.sum() + 3 * text.sum(), "pair": image.pow(2).sum()}
    against = math.sqrt(2 * 2**2 + 2 * 3**2)
    others = math.sqrt(2.0**2 + 4.0**2)
    share = gradient_share([image, text], terms, ("adversarial",))
    assert share == pytest.approx(against / (against + others))
    terms["pair"].backward()  # the graph is still there
    assert image.grad is not None


def test_gradient_share_of_one_side_only() -> None:
    image = torch.ones(1, 2, requires_grad=True)
    points = [image, image * 1]
    assert gradient_share(points, {"pair": image.sum()}, ("adversarial",)) == 0
    assert gradient_share(points, {"adversarial": image.sum()}, ("adversarial",)) == 1
    assert gradient_share(points, {"pair": torch.ones(())}, ("adversarial",)) == 0
    assert gradient_share(points, {"elsewhere": torch.ones((), requires_grad=True)}, ("adversarial",)) == 0
    assert gradient_share(points, {}, ("adversarial",)) == 0


class Noted(CSVLogger):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.rows: list[tuple[int, set[str]]] = []

    def log_metrics(self, metrics, step=None) -> None:  # type: ignore[no-untyped-def]
        game = {name for name in metrics if name.startswith("game/")}
        if game:
            self.rows.append((step, game))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_looks_every_few_generator_updates(tmp_path: Path, accumulate: int) -> None:
    data = Toy(batch_size=16 // accumulate)
    model = toy_model(DAML, data, discriminator=ModalityClassifier, accumulate=accumulate)
    logger = Noted(tmp_path)
    trainer(max_epochs=2, logger=logger, callbacks=[AdversarialDiagnostics(every_n_updates=4)]).fit(model, data)
    names = {"discriminator_accuracy", "discriminator_entropy", "gradient_share", "modality_gap"}
    assert logger.rows == [(step, {f"game/{name}" for name in names}) for step in (0, 4, 8)]


def test_without_a_discriminator_there_is_the_gap_alone(tmp_path: Path, data: Toy) -> None:
    logger = Noted(tmp_path)
    model = toy_model(Triplet, data)
    trainer(max_epochs=1, logger=logger, callbacks=[AdversarialDiagnostics(every_n_updates=4)]).fit(model, data)
    assert logger.rows == [(0, {"game/modality_gap"}), (4, {"game/modality_gap"})]


def test_looking_does_not_change_the_training() -> None:
    weights = []
    for callbacks in ([], [AdversarialDiagnostics(every_n_updates=1)]):
        data = Toy()
        torch.manual_seed(3)
        model = toy_model(DAML, data, discriminator=ModalityClassifier)
        trainer(max_epochs=1, callbacks=callbacks).fit(model, data)
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert torch.equal(*weights)
