import pytest
import torch

from cmr_lightning.batch import Features, Pixels
from cmr_lightning.encoders import Concatenation, FeatureMLP, ImageOnly, TextOnly, TimmEncoder, TIRGFusion, TIRGLastMap
from cmr_lightning.errors import UserError

DIM = 6


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(Pixels(64), DIM, "test_resnet").eval()


def image_and_text() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(5, DIM), torch.randn(5, DIM)


@pytest.mark.parametrize("fusion", [ImageOnly, TextOnly, Concatenation, TIRGFusion])
def test_each_reads_what_it_says(fusion, encoder: TimmEncoder) -> None:
    made = fusion(DIM, encoder).eval()
    image, text = (x.requires_grad_() for x in image_and_text())
    query = made(image, text)
    assert query.shape == (5, DIM)
    query.sum().backward()
    assert (image.grad is not None) == made.reads_image
    assert (text.grad is not None) == made.reads_text


def test_gating_is_the_formula(encoder: TimmEncoder) -> None:
    image, text = image_and_text()
    fusion = TIRGFusion(DIM, encoder)
    both = torch.cat([image, text], dim=1)
    normalised = ((both - both.mean(0)) / (both.var(0, unbiased=False) + 1e-5).sqrt()).clamp(min=0)
    gate = fusion.gate[2](normalised)
    residual = fusion.residual[4](fusion.residual[2](normalised).clamp(min=0))
    expected = image / (1 + (-gate).exp()) + 10 * residual
    assert fusion.a.requires_grad
    torch.testing.assert_close(fusion(image, text), expected, rtol=1e-4, atol=1e-5)


def test_gating_on_the_map_sees_the_text_at_every_place(encoder: TimmEncoder) -> None:
    fusion = TIRGLastMap(DIM, encoder).eval()
    maps = encoder.last_map(torch.randint(0, 256, (5, 3, 64, 64), dtype=torch.uint8))
    assert fusion.on_map
    _, text = image_and_text()
    changed = fusion(maps, text)
    assert changed.shape == maps.shape
    tiled = torch.cat([maps, text[:, :, None, None].repeat(1, 1, *maps.shape[2:])], dim=1)
    expected = fusion.gate(tiled).sigmoid() * maps + 10 * fusion.residual(tiled)
    assert fusion.a.requires_grad
    torch.testing.assert_close(changed, expected)
    assert not torch.allclose(fusion(maps, text.flip(0)), changed)


def test_gating_on_the_map_needs_a_map() -> None:
    with pytest.raises(UserError, match="FeatureMLP makes none; choose TimmEncoder with a CNN"):
        TIRGLastMap(DIM, FeatureMLP(Features(8), DIM))
    with pytest.raises(UserError, match="has no feature maps but features of shape"):
        TIRGLastMap(DIM, TimmEncoder(Pixels(32), DIM, "test_vit", {"img_size": 32}))
