import math
from functools import partial
from typing import Any

import pytest
import torch
from pytorch_lightning.callbacks import LambdaCallback
from torch import Tensor, nn

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.evaluation.game_state import figures_of, state_of
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.game.alignments import Alignment, ConditionalAdversary, ModalityAdversary, WassersteinAdversary
from cmr_lightning.game.held_out import length_ratio, modality_gap
from cmr_lightning.game.probe import drawn_pairs, probe
from cmr_lightning.losses import maximum_mean_discrepancy
from cmr_lightning.losses.arithmetic import unit
from cmr_lightning.methods.daml import DAML
from cmr_lightning.methods.ssal import SSAL, quarter_turns
from cmr_lightning.methods.tirg import TIRG
from cmr_lightning.retriever import Retriever
from datamodules.base import CrossModalData
from datamodules.shapes import Shapes
from tests.building import trainer
from tests.cmr_lightning.methods.reach import picture_method
from tests.toy import Toy, ToyComposed, toy_model


def fitted(model: Retriever, data: CrossModalData, **settings: Any) -> dict[str, Any]:
    """Train for an epoch, and return the figures of its validation."""
    watching = AdversarialDiagnostics()
    trainer(max_epochs=1, limit_val_batches=1.0, callbacks=[watching], **settings).fit(model, data)
    model.eval()
    return model.game.figures


def pairs_of(model: Retriever, owner: Tensor) -> Embeddings:
    images, texts = drawn_pairs(owner)
    return Embeddings(model.embedded.image[images], model.embedded.text[texts])


def test_gap_and_ratio_of_lengths() -> None:
    image = torch.tensor([[3.0, 0.0], [0.0, 5.0]])
    text = torch.tensor([[-2.0, 0.0], [0.0, -1.0]])
    assert modality_gap(Embeddings(image, text)) == pytest.approx(math.sqrt(2))
    assert modality_gap(Embeddings(image, 7 * image)) == pytest.approx(0)
    assert modality_gap(Embeddings(image[:1], text[:1])) == pytest.approx(2)
    assert length_ratio(Embeddings(image, text)) == pytest.approx(4 / 1.5)


def told(of_images: Tensor, of_texts: Tensor) -> float:
    """Balanced accuracy, point by point."""
    right = [int(z > 0) for z in of_images.tolist()], [int(z < 0) for z in of_texts.tolist()]
    return sum(sum(of) / len(of) for of in right) / 2


@pytest.mark.parametrize("captions", [1, 3])
def test_figures_are_those_of_validation_pairs_each_image_once(captions: int) -> None:
    data = Toy(captions=captions)
    model = toy_model(DAML, data)
    figures = fitted(model, data)
    pairs = pairs_of(model, data.part("val").owner)
    logits = [model.alignment.discriminator(points) for points in pairs.pair]
    p = torch.cat(logits).sigmoid()
    assert figures["items"] == 24
    assert figures["discriminator_accuracy"] == pytest.approx(told(*logits))
    assert figures["discriminator_entropy"] == pytest.approx(-(p * p.log() + (1 - p) * (1 - p).log()).mean().item())
    assert figures["probe_accuracy"] == probe(torch.stack([unit(points) for points in pairs.pair], dim=1))
    assert figures["probe_accuracy_raw"] == probe(torch.stack(pairs.pair, dim=1))
    assert figures["modality_gap"] == modality_gap(pairs)
    directions = [unit(points) for points in pairs.pair]
    assert figures["mmd"] == maximum_mean_discrepancy(*directions, unbiased=True)
    assert figures["length_ratio"] == length_ratio(pairs)
    assert figures["mode"] == "reversal"


class OneSided(nn.Module):
    """Scores by the first coordinate, far from 0."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(1.0))

    def forward(self, points: Tensor) -> Tensor:
        return self.slope * points[:, 0] + 100


def test_threshold_of_a_critic_is_half_way_between_its_means_and_it_has_no_mode() -> None:
    data = Toy()
    model = toy_model(DAML, data, alignment=partial(WassersteinAdversary, discriminator=OneSided))
    figures = fitted(model, data)
    images, texts = (points[:, 0] for points in pairs_of(model, data.part("val").owner).pair)
    middle = (images.mean() + texts.mean()) / 2
    sign = model.alignment.discriminator.slope.sign()
    assert figures["discriminator_accuracy"] == pytest.approx(told(sign * (images - middle), sign * (texts - middle)))
    assert (figures["discriminator_entropy"], figures["mode"], "critic_gap" in figures) == (None, None, False)


class ByClass(nn.Module):
    """Takes every item of the first class for an image, and every other one for a text."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, told: Tensor) -> Tensor:
        return self.bias + told[:, -4] - 0.5


@pytest.mark.parametrize("multi_label", [False, True])
def test_discriminator_is_told_the_classes_of_the_items(multi_label: bool) -> None:
    data = Toy(multi_label=multi_label)
    settings = {"discriminator": ByClass, "condition": "concatenation"}
    model = toy_model(DAML, data, alignment=partial(ConditionalAdversary, **settings), weights={"alignment": 0})
    figures = fitted(model, data)
    assert figures["discriminator_accuracy"] == 0.5
    labels = data.part("val").label
    first = labels[:, 0] / labels.sum(1) if multi_label else (labels == 0).float()
    z = first - 0.5 + model.alignment.discriminator.bias.item()
    p = z.sigmoid()
    assert figures["discriminator_entropy"] == pytest.approx(-(p * p.log() + (1 - p) * (1 - p).log()).mean().item())


class Squared(Alignment):
    """No adversary."""

    def forward(self, images: Tensor, texts: Tensor, classes: Any = None) -> Tensor:
        return (images.mean(0) - texts.mean(0)).square().sum()


@pytest.mark.parametrize(
    ("settings", "least", "states"),
    [
        ({"alignment": None}, None, ("none",)),
        ({"weights": {"alignment": 0}}, None, ("none",)),
        ({"alignment": Squared}, 0.1, ("none",)),
        ({"weights": {"alignment": 1e-4}}, 1e-7, ("idle",)),
        ({"ramp": False}, 0.01, ("untrained", "overrun", "neutral")),
    ],
)
def test_state_of_what_plays_and_of_what_does_not(
    settings: dict[str, Any], least: float | None, states: tuple[str, ...]
) -> None:
    data = Toy()
    figures = fitted(toy_model(DAML, data, **settings), data)
    assert figures["state"] == state_of(figures_of(figures))
    assert figures["state"] in states
    assert figures["gradient_share"] is None if least is None else least < figures["gradient_share"] < 1


def test_composed_queries_are_compared_with_their_targets() -> None:
    data = ToyComposed()
    model = toy_model(TIRG, data, alignment=ModalityAdversary)
    figures = fitted(model, data)
    assert figures["items"] == len(data.part("val").target.unique()) == 72
    pairs = pairs_of(model, data.part("val").target)
    assert figures["probe_accuracy"] == probe(torch.stack([unit(points) for points in pairs.pair], dim=1))


def test_trial_runs_sanity_checks_and_a_single_pair_have_no_figures() -> None:
    data = Toy()
    data.eval_batch_size = 8
    model = toy_model(DAML, data)
    assert fitted(model, data, fast_dev_run=2) == {}
    seen: list[dict[str, Any]] = []
    look = LambdaCallback(on_train_start=lambda fit, checked: seen.append(checked.game.figures))
    checking = {"max_epochs": 1, "num_sanity_val_steps": -1, "limit_val_batches": 1.0}
    trainer(callbacks=[AdversarialDiagnostics(), look], **checking).fit(model, data)
    assert seen == [{}]
    assert model.game.figures["items"] == 24
    single = Toy(level="instance")
    single.sizes["val"] = 1
    assert fitted(toy_model(DAML, single), single) == {}


@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_rotation_head_is_asked_about_validation_images_at_all_angles(weight: float) -> None:
    data = Shapes(num_train=40, num_val=30, num_test=20, picture_size=32, batch_size=20, epoch_of="images")
    settings = {"rotation_mode": "flipped", "weights": {"rotation": weight}}
    model = picture_method(SSAL, data, "test_convnext", **settings)
    figures = fitted(model, data)
    with torch.no_grad():
        turned = torch.stack([model.embed_images(images) for images in quarter_turns(data.part("val").image)], dim=1)
        logits = model.rotation_head(turned)
    right = [logits[i, angle].argmax().item() == angle for i in range(30) for angle in range(4)]
    assert figures["rotation_accuracy"] == pytest.approx(sum(right) / 120, abs=0.02)  # in batches of other sizes
    assert figures["rotation_probe_accuracy"] == pytest.approx(probe(unit(turned)), abs=0.05)
    assert (figures["rotation_views"], figures["rotation_mode"]) == (4, "flipped")
    assert (figures["rotation_share"] is None) == (weight == 0)
    states = ("idle", "untrained", "overrun", "neutral") if weight else ("none",)
    assert figures["rotation_state"] in states


def test_what_turns_no_images_has_no_figures_of_angles(data: Toy) -> None:
    model = toy_model(SSAL, data, turns=False)
    assert not [name for name in fitted(model, data) if name.startswith("rotation")]
