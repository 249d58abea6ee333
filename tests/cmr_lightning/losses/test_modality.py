import math

import pytest
import torch
from torch import Tensor

from cmr_lightning.losses import AdversarialMode, adversarial_modality, binary_entropy, modality_loss

from .samples import entropy, mean, sample, sigmoid

LOGITS = torch.tensor([-30.0, -4.0, -1.54, -0.3, 0.0, 0.3, 1.54, 4.0, 30.0], dtype=torch.float64)


def gradients(mode: AdversarialMode, image_logits: Tensor, text_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of each item, without the 1/2n of the mean over the items of two modalities."""
    image_logits, text_logits = image_logits.clone().requires_grad_(), text_logits.clone().requires_grad_()
    adversarial_modality(image_logits, text_logits, mode).backward()
    return image_logits.grad * 2 * len(image_logits), text_logits.grad * 2 * len(text_logits)


def test_modality_loss_equals_a_loop() -> None:
    batch = sample()
    images, texts = batch.image_modality.tolist(), batch.text_modality.tolist()
    total = sum(math.log(sigmoid(v)) + math.log(1 - sigmoid(t)) for v, t in zip(images, texts, strict=True))
    value = modality_loss(batch.image_modality, batch.text_modality)
    assert value.item() == pytest.approx(-total / 12, abs=1e-9)


def test_modality_loss_falls_as_the_classifier_learns() -> None:
    unsure = torch.zeros(3)
    assert modality_loss(unsure, unsure).item() == pytest.approx(math.log(2))
    assert modality_loss(unsure + 5, unsure - 5) < 0.01
    assert modality_loss(unsure - 5, unsure + 5) > 5


def test_adversarial_terms_equal_a_loop() -> None:
    batch = sample()
    images, texts = batch.image_modality, batch.text_modality
    p_image = [sigmoid(z) for z in images.tolist()]
    p_text = [1 - sigmoid(z) for z in texts.tolist()]  # of the truth
    expected = {
        "reversal": mean([math.log(p) for p in p_image + p_text]),
        "flipped": mean([-math.log(1 - p) for p in p_image + p_text]),
        "entropy": mean([-entropy([p, 1 - p]) for p in p_image + p_text]),
    }
    assert adversarial_modality(images, texts, "reversal").item() == pytest.approx(expected["reversal"], abs=1e-9)
    assert adversarial_modality(images, texts, "flipped").item() == pytest.approx(expected["flipped"], abs=1e-9)
    assert adversarial_modality(images, texts, "entropy").item() == pytest.approx(expected["entropy"], abs=1e-9)


def test_reversal_has_the_gradient_one_minus_p() -> None:
    p = LOGITS.sigmoid()
    image_gradient, text_gradient = gradients("reversal", LOGITS, -LOGITS)
    torch.testing.assert_close(image_gradient, 1 - p, rtol=0, atol=1e-12)
    torch.testing.assert_close(text_gradient, -(1 - p), rtol=0, atol=1e-12)


def test_flipped_has_the_gradient_p() -> None:
    p = LOGITS.sigmoid()
    image_gradient, text_gradient = gradients("flipped", LOGITS, -LOGITS)
    torch.testing.assert_close(image_gradient, p, rtol=0, atol=1e-12)
    torch.testing.assert_close(text_gradient, -p, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_entropy_has_the_gradient_z_p_one_minus_p(dtype: torch.dtype) -> None:
    logits = LOGITS.to(dtype)
    expected = logits * logits.sigmoid() * (-logits).sigmoid()
    for gradient in gradients("entropy", logits, logits):
        torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-6)
        assert gradient[LOGITS == 0].item() == 0


@pytest.mark.parametrize("z", [0.1, 1.0, 2.9])
def test_a_step_on_entropy_raises_it(z: float) -> None:
    image_logits, text_logits = torch.full((2,), z), torch.full((2,), -z)
    image_gradient, text_gradient = gradients("entropy", image_logits, text_logits)
    assert (binary_entropy(image_logits - 0.1 * image_gradient) > binary_entropy(image_logits)).all()
    assert (binary_entropy(text_logits - 0.1 * text_gradient) > binary_entropy(text_logits)).all()


def test_reversal_raises_the_loss_of_the_classifier_and_flipped_too() -> None:
    batch = sample()
    before = modality_loss(batch.image_modality, batch.text_modality)
    for mode in ("reversal", "flipped"):
        image_gradient, text_gradient = gradients(mode, batch.image_modality, batch.text_modality)
        after = modality_loss(batch.image_modality - 0.1 * image_gradient, batch.text_modality - 0.1 * text_gradient)
        assert after > before


def test_binary_entropy_equals_a_loop_and_is_largest_at_zero() -> None:
    logits = sample().image_modality
    expected = [entropy([sigmoid(z), 1 - sigmoid(z)]) for z in logits.tolist()]
    assert binary_entropy(logits).tolist() == pytest.approx(expected, abs=1e-9)
    assert binary_entropy(torch.zeros(1)).item() == pytest.approx(math.log(2))
    assert binary_entropy(torch.tensor([1e4, -1e4])).tolist() == [0, 0]
    assert (binary_entropy(torch.linspace(-20, 20, 41)) > 0).all()
