"""What each adversary plays: formulas, against linear discriminators, whose penalties and blocks can be told."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from cmr_lightning.discriminators import ModalityClassifier
from cmr_lightning.game.alignments import Adversary, ConditionalAdversary, ModalityAdversary, WassersteinAdversary
from cmr_lightning.losses import AdversarialMode, adversarial_modality, modality_loss

DIM, CLASSES = 5, 3
LABELS = torch.tensor([0, 1, 2, 1]), torch.tensor([2, 0, 1, 0, 1, 2])
TOLD = tuple(one_hot(labels, CLASSES).double() for labels in LABELS)

linear = partial(ModalityClassifier, hidden=())


def made(cls: Callable[..., Adversary], **settings: Any) -> Adversary:
    torch.manual_seed(0)
    return cls(DIM, CLASSES, **{"discriminator": linear, **settings}).double()


def sample() -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    return tuple(torch.randn(len(labels), DIM, generator=draw, dtype=torch.float64) for labels in LABELS)  # type: ignore[return-value]


def squared_length() -> Tensor:
    """Return the mean squared length of the sample's points."""
    return torch.cat(sample()).square().sum(1).mean()


def slopes(adversary: Adversary) -> tuple[Tensor, Tensor]:
    """Weights `(1, blocks of D)` and bias of a linear discriminator."""
    return adversary.discriminator.layers[0].weight, adversary.discriminator.layers[0].bias


def test_r1_of_a_linear_discriminator_is_the_square_of_its_slope() -> None:
    adversary = made(ModalityAdversary, r1=3.0)
    expected = 1.5 * squared_length() * slopes(adversary)[0].square().sum()
    torch.testing.assert_close(adversary.discriminator_losses(*sample())["penalty"], expected)
    assert set(made(ModalityAdversary).discriminator_losses(*sample())) == {"modality"}


def test_r1_of_a_discriminator_that_is_told_classes_is_that_of_each_items_block() -> None:
    adversary = made(ConditionalAdversary, r1=3.0)
    blocks = slopes(adversary)[0].view(CLASSES, DIM)
    expected = 1.5 * squared_length() * CLASSES * blocks[torch.cat(LABELS)].square().sum(1).mean()
    torch.testing.assert_close(adversary.discriminator_losses(*sample(), TOLD)["penalty"], expected)


@pytest.mark.parametrize(
    "make", [partial(ModalityAdversary, r1=1.0), partial(ConditionalAdversary, r1=1.0), WassersteinAdversary]
)
def test_the_penalty_teaches_the_discriminator_alone(make: Callable[..., Adversary]) -> None:
    adversary, points = made(make, discriminator=ModalityClassifier), [points.requires_grad_() for points in sample()]
    told = TOLD if adversary.class_source else None
    adversary.discriminator_losses(*points, told)["penalty"].backward()
    assert all(leaf.grad is None for leaf in points)
    assert adversary.discriminator.layers[0].weight.grad.any()


@pytest.mark.parametrize(
    "make",
    [
        partial(ModalityAdversary, r1=1.0),
        partial(ConditionalAdversary, r1=1.0),
        partial(ConditionalAdversary, condition="concatenation"),
        partial(WassersteinAdversary, classes="labels"),
    ],
)
def test_weights_in_half_precision_play_as_those_in_full(make: Callable[..., Adversary]) -> None:
    told: Any = tuple(p.bfloat16() for p in TOLD)
    half, points = made(make).bfloat16(), tuple(points.bfloat16() for points in sample())
    full = made(make).bfloat16().double()
    torch.manual_seed(1)
    found = half.discriminator_losses(*points, told)
    torch.manual_seed(1)
    expected = full.discriminator_losses(*(p.double() for p in points), tuple(p.double() for p in told))  # type: ignore[arg-type]
    for name, loss in found.items():
        loss.backward()
        assert loss.item() == pytest.approx(expected[name].item(), rel=0.05, abs=0.02)
    assert all(p.grad.isfinite().all() for p in half.discriminator.parameters())


@pytest.mark.parametrize("mode", ["reversal", "flipped", "entropy"])
def test_a_linear_discriminator_that_is_told_classes_is_one_for_each_class(mode: AdversarialMode) -> None:
    adversary = made(ConditionalAdversary, mode=mode)
    weight, bias = slopes(adversary)
    judges = CLASSES**0.5 * weight.view(CLASSES, DIM)
    logits = [
        torch.stack([points[i] @ judges[label] + bias[0] for i, label in enumerate(labels.tolist())])
        for points, labels in zip(sample(), LABELS, strict=True)
    ]
    torch.testing.assert_close(adversary(*sample(), TOLD), adversarial_modality(*logits, mode=mode))
    torch.testing.assert_close(adversary.discriminator_losses(*sample(), TOLD)["modality"], modality_loss(*logits))
    order = torch.tensor([2, 0, 1])
    before = adversary(*sample(), TOLD)
    with torch.no_grad():
        weight.copy_(weight.view(CLASSES, DIM)[order].view(1, -1))
    torch.testing.assert_close(adversary(*sample(), tuple(p[:, order] for p in TOLD)), before)  # type: ignore[arg-type]


def test_beside_the_point_classes_shift_a_linear_discriminator() -> None:
    adversary = made(ConditionalAdversary, condition="concatenation")
    (of_point, of_class), bias = slopes(adversary)[0][0].split([DIM, CLASSES]), slopes(adversary)[1]
    expected = tuple(
        points @ of_point + of_class[labels] + bias for points, labels in zip(sample(), LABELS, strict=True)
    )
    torch.testing.assert_close(adversary.outputs(*sample(), TOLD), expected)


def test_a_linear_critic_pays_for_every_slope_but_1() -> None:
    adversary, (images, texts) = made(WassersteinAdversary), sample()
    weight, _ = slopes(adversary)
    losses = adversary.discriminator_losses(images, texts)
    torch.testing.assert_close(losses["penalty"], 10 * (weight.norm() - 1) ** 2)
    gap = (weight @ (images.mean(0) - texts.mean(0)))[0]
    torch.testing.assert_close(losses["wasserstein"], -gap)
    torch.testing.assert_close(adversary(images, texts), gap)
    with torch.no_grad():
        weight /= weight.norm()
    assert adversary.discriminator_losses(images, texts)["penalty"] < 1e-20


def test_a_linear_critic_that_is_told_classes_has_a_slope_in_each() -> None:
    adversary, (images, texts) = made(WassersteinAdversary, classes="labels", penalty=2.0), sample()
    blocks = CLASSES**0.5 * slopes(adversary)[0].view(CLASSES, DIM)
    losses = adversary.discriminator_losses(images, texts, TOLD)
    torch.testing.assert_close(losses["penalty"], 2 * (blocks[LABELS[0]].norm(dim=1) - 1).square().mean())
    gap = (images * blocks[LABELS[0]]).sum(1).mean() - (texts * blocks[LABELS[1]]).sum(1).mean()
    torch.testing.assert_close(losses["wasserstein"], -gap)


def test_the_state_of_a_critic() -> None:
    """Its threshold lies half-way between the mean scores: here 3 between 4 and 2; of 4 images one is below it."""
    adversary = made(WassersteinAdversary)
    with torch.no_grad():
        slopes(adversary)[0].copy_(torch.eye(DIM, dtype=torch.float64)[:1])
    scores = torch.tensor([2.0, 4.0, 5.0, 5.0]).double(), torch.tensor([1.0, 3.5, 1.5]).double()
    state = adversary.state(*(score[:, None] * torch.eye(DIM, dtype=torch.float64)[:1] for score in scores))
    assert state["critic_gap"].item() == pytest.approx(2)
    assert state["discriminator_accuracy"].item() == pytest.approx((3 / 4 + 2 / 3) / 2)
