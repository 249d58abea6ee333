from __future__ import annotations

import pytest
import torch

from cmr_lightning.batch import Features, Pixels, Words
from cmr_lightning.encoders import TimmEncoder
from cmr_lightning.errors import UserError

SMALL = {"channels": [8, 8, 8, 8], "stem_width": 8}


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(Pixels(32), 5, "resnet10t", SMALL).eval()


@pytest.mark.parametrize("size", [32, 48])
def test_pictures_of_bytes_to_the_common_space(encoder: TimmEncoder, size: int) -> None:
    pictures = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    embeddings = encoder(pictures)
    assert embeddings.shape == (3, 5)
    assert embeddings.dtype == torch.float32


def test_backbone_sees_what_timm_says_it_should(encoder: TimmEncoder) -> None:
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    mean, std = (torch.tensor(encoder.backbone.default_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    seen = (pictures.float() / 255 - mean) / std
    assert torch.allclose(encoder(pictures), encoder.projection(encoder.backbone(seen)), atol=1e-4)


def test_gradients_reach_the_whole_backbone(encoder: TimmEncoder) -> None:
    encoder(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)).sum().backward()
    assert all(p.grad is not None for p in encoder.parameters())


def test_weights_are_all_that_is_saved(encoder: TimmEncoder) -> None:
    assert {name.partition(".")[0] for name in encoder.state_dict()} == {"backbone", "projection"}


def test_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match=r"no model 'resnet5'; .*list_models"):
        TimmEncoder(Pixels(32), 5, "resnet5")


@pytest.mark.parametrize("source", [Features(12), Words(100, 20)])
def test_other_input_is_refused(source: Features | Words) -> None:
    with pytest.raises(UserError, match="TimmEncoder encodes pictures, but"):
        TimmEncoder(source, 5, "resnet10t")
