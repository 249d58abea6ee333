import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cmr_lightning.losses import AdversarialMode, adversarial_modality, adversarial_rotation, binary_entropy

from .samples import sample

LOGITS = torch.tensor([-30.0, -4.0, -1.54, -0.3, 0.0, 0.3, 1.54, 4.0, 30.0], dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("reversal", lambda z: (-z).sigmoid()),
        ("flipped", torch.sigmoid),
        ("entropy", lambda z: z * z.sigmoid() * (-z).sigmoid()),
    ],
)
def test_gradients_are_those_of_the_table(
    mode: AdversarialMode, expected: Callable[[Tensor], Tensor], dtype: torch.dtype
) -> None:
    logits, atol = LOGITS.to(dtype), 1e-6 if dtype == torch.float32 else 1e-12
    image_logits, text_logits = logits.clone().requires_grad_(), (-logits).requires_grad_()
    adversarial_modality(image_logits, text_logits, mode).backward()
    items = 2 * len(logits)  # over which the loss takes the mean
    torch.testing.assert_close(items * image_logits.grad, expected(logits), rtol=0, atol=atol)
    torch.testing.assert_close(items * text_logits.grad, -expected(logits), rtol=0, atol=atol)


def test_binary_entropy_is_largest_at_zero_and_never_negative() -> None:
    assert binary_entropy(torch.zeros(1)).item() == pytest.approx(math.log(2))
    assert binary_entropy(torch.tensor([1e4, -1e4])).tolist() == [0, 0]
    assert (binary_entropy(torch.linspace(-20, 20, 41)) > 0).all()


def test_a_sure_rotation_classifier_stops_reversal_but_not_flipped() -> None:
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


def test_an_unknown_mode_is_refused() -> None:
    batch = sample()
    with pytest.raises(AssertionError, match="entopy"):
        adversarial_modality(batch.image_modality, batch.text_modality, "entopy")  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="entopy"):
        adversarial_rotation(batch.rotation, "entopy")  # type: ignore[arg-type]
