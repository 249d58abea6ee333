import math

import pytest
import torch

from cmr_lightning.losses import AdversarialMode, adversarial_modality, adversarial_rotation, rotation_loss

from .samples import entropy, mean, sample, softmax


def test_rotation_loss_equals_a_loop() -> None:
    rotation = sample().rotation
    expected = mean([-math.log(softmax(item[r])[r]) for item in rotation.tolist() for r in range(4)])
    assert rotation_loss(rotation).item() == pytest.approx(expected, abs=1e-9)


def test_adversarial_terms_equal_a_loop() -> None:
    rotation = sample().rotation
    rows = [(softmax(item[r]), r) for item in rotation.tolist() for r in range(4)]
    flipped = mean([-mean([math.log(p[a]) for a in range(4) if a != r]) for p, r in rows])
    uncertain = mean([-entropy(p) for p, _ in rows])
    assert adversarial_rotation(rotation, "reversal").item() == pytest.approx(-rotation_loss(rotation).item(), abs=1e-9)
    assert adversarial_rotation(rotation, "flipped").item() == pytest.approx(flipped, abs=1e-9)
    assert adversarial_rotation(rotation, "entropy").item() == pytest.approx(uncertain, abs=1e-9)


def test_two_angles_are_the_game_about_modality() -> None:
    logits = torch.tensor([0.7, -1.2, 3.0], dtype=torch.float64)
    texts = torch.tensor([-0.4, 2.0, 0.1], dtype=torch.float64)
    zeros = torch.zeros_like(logits)
    two_angles = torch.stack([torch.stack([logits, zeros], 1), torch.stack([texts, zeros], 1)], 1)
    modes: tuple[AdversarialMode, ...] = ("reversal", "flipped", "entropy")
    for mode in modes:
        torch.testing.assert_close(adversarial_rotation(two_angles, mode), adversarial_modality(logits, texts, mode))


def test_a_sure_classifier_stops_reversal_but_not_flipped() -> None:
    logits = (50 * torch.eye(4)).expand(2, 4, 4).clone().requires_grad_()
    (reversal,) = torch.autograd.grad(adversarial_rotation(logits, "reversal"), logits)
    (flipped,) = torch.autograd.grad(adversarial_rotation(logits, "flipped"), logits)
    assert reversal.abs().max() < 1e-6
    torch.testing.assert_close(flipped.diagonal(dim1=1, dim2=2) * 8, torch.ones(2, 4))


def test_entropy_rests_where_nothing_is_known() -> None:
    logits = torch.zeros(2, 4, 4, requires_grad=True)
    value = adversarial_rotation(logits, "entropy")
    value.backward()
    assert value.item() == pytest.approx(-math.log(4))
    assert logits.grad.abs().max() < 1e-7


@pytest.mark.parametrize("mode", ["reversal", "flipped"])
def test_a_step_raises_the_loss_of_the_classifier(mode: AdversarialMode) -> None:
    logits = sample().rotation.requires_grad_()
    (gradient,) = torch.autograd.grad(adversarial_rotation(logits, mode), logits)
    assert rotation_loss(logits - gradient) > rotation_loss(logits)
