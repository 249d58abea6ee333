import math

import pytest
import torch

from cmr_lightning.losses import label_calibration, label_loss

from .samples import mean, sample, softmax


def test_label_loss_equals_a_loop() -> None:
    batch = sample()
    rows = zip(batch.image_logits.tolist(), batch.label.tolist(), strict=True)
    expected = mean([-math.log(softmax(logits)[y]) for logits, y in rows])
    assert label_loss(batch.image_logits, batch.label).item() == pytest.approx(expected, abs=1e-9)


def test_one_hot_labels_agree_with_indices() -> None:
    batch = sample()
    torch.testing.assert_close(
        label_loss(batch.image_logits, batch.one_hot.float()), label_loss(batch.image_logits, batch.label)
    )


def test_multi_hot_labels_share_the_weight_of_an_item() -> None:
    logits = sample(4).image_logits
    label = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    expected = 0.0
    for row, hot in zip(logits.tolist(), label.tolist(), strict=True):
        classes = [c for c in range(3) if hot[c]]
        expected += mean([-math.log(softmax(row)[c]) for c in classes])
    assert label_loss(logits, label).item() == pytest.approx(expected / 4, abs=1e-9)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_calibration_equals_a_loop(temperature: float) -> None:
    batch = sample()
    total = 0.0
    for image, text in zip(batch.image_logits.tolist(), batch.text_logits.tolist(), strict=True):
        of_image = softmax([z / temperature for z in image])
        of_text = softmax([z / temperature for z in text])
        total += sum(t * math.log(t / v) for v, t in zip(of_image, of_text, strict=True))
    value = label_calibration(batch.image_logits, batch.text_logits, temperature)
    assert value.item() == pytest.approx(temperature**2 * total / 6, abs=1e-9)


def test_calibration_is_zero_for_equal_logits() -> None:
    logits = sample().image_logits
    assert label_calibration(logits, logits + 3).item() == pytest.approx(0, abs=1e-12)
    assert label_calibration(logits, logits.flip(1)) > 0.05


def test_calibration_keeps_its_size_as_the_temperature_grows() -> None:
    batch = sample()
    warm = label_calibration(batch.image_logits, batch.text_logits, 1e3)
    hot = label_calibration(batch.image_logits, batch.text_logits, 2e3)
    assert hot.item() == pytest.approx(warm.item(), rel=1e-2)


def test_calibration_reaches_both_modalities() -> None:
    batch = sample()
    image_logits, text_logits = batch.image_logits.requires_grad_(), batch.text_logits.requires_grad_()
    gradients = torch.autograd.grad(label_calibration(image_logits, text_logits), [image_logits, text_logits])
    assert all(gradient.abs().max() > 1e-3 for gradient in gradients)
