from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from cmr_lightning.batch import Pixels
from cmr_lightning.encoders import TimmEncoder
from cmr_lightning.errors import UserError
from datamodules.inputs.pictures import Pictures

SMALL = {"channels": [8, 8, 8, 8], "stem_width": 8}


@pytest.fixture(scope="module")
def encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return TimmEncoder(Pixels(32), 5, "resnet10t", SMALL).eval()


@pytest.mark.parametrize("size", [32, 48])
def test_backbone_sees_what_timm_says_it_should(encoder: TimmEncoder, size: int) -> None:
    pictures = torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8)
    mean, std = (torch.tensor(encoder.backbone.default_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    seen = (pictures.float() / 255 - mean) / std
    assert torch.allclose(encoder(pictures), encoder.projection(encoder.backbone(seen)), atol=1e-4)


def test_weights_are_all_that_is_saved(encoder: TimmEncoder) -> None:
    assert {name.partition(".")[0] for name in encoder.state_dict()} == {"backbone", "projection", "mean", "std"}


def test_normalisation_can_be_overridden() -> None:
    half = {"pretrained_cfg_overlay": {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}}
    encoder = TimmEncoder(Pixels(32), 5, "test_resnet", half)
    assert encoder.mean.flatten().tolist() == [127.5] * 3
    assert encoder.std.flatten().tolist() == [63.75] * 3


@pytest.mark.parametrize("model", ["mobilenetv3_small_050", "test_vit", "test_convnext"])
def test_projection_fits_whatever_the_model_makes_of_a_picture(model: str) -> None:
    size = timm.get_pretrained_cfg(model).input_size[-1]
    encoder = TimmEncoder(Pixels(size), 5, model)
    assert all(module.training for module in encoder.modules())
    encoder.eval()
    assert encoder(torch.zeros(1, 3, size, size, dtype=torch.uint8)).shape == (1, 5)


def test_pictures_that_the_model_makes_no_vector_of_are_refused() -> None:
    with pytest.raises(UserError, match=r"cannot encode pictures of 32 x 32 .*data\.image\.crop 224 with"):
        TimmEncoder(Pixels(32), 5, "vit_tiny_patch16_224")
    assert TimmEncoder(Pixels(32), 5, "vit_tiny_patch16_224", {"img_size": 32}).projection.in_features == 192
    with pytest.raises(UserError, match=r"makes no vector of a picture .*; leave model_args\.global_pool and"):
        TimmEncoder(Pixels(32), 5, "test_resnet", {"global_pool": ""})


def test_model_without_checkpointing_is_refused() -> None:
    with pytest.raises(UserError, match="dla46_c has no gradient checkpointing"):
        TimmEncoder(Pixels(32), 5, "dla46_c", gradient_checkpointing=True)


def test_feature_maps_are_those_that_embeddings_are_made_of(encoder: TimmEncoder) -> None:
    pictures = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8)
    last = encoder.last_map(pictures)
    assert last.shape == (3, encoder.channels(), 2, 2)
    assert torch.equal(encoder.from_last_map(last), encoder(pictures))
    for level, side in ((1, 16), (3, 4)):
        embeddings, low = encoder.with_map(pictures, level)
        assert torch.equal(embeddings, encoder(pictures))
        assert low.shape == (3, encoder.channels(level), side, side)


def test_level_that_a_model_does_not_have_is_refused(encoder: TimmEncoder) -> None:
    encoder.train()
    with pytest.raises(UserError, match="ResNet has no feature map of level 9"):
        encoder.channels(9)
    assert encoder.training
    encoder.eval()


def test_real_features_agree_with_an_independent_extraction(real_data: Path) -> None:
    root = real_data / "pascal_sentence"
    archive = np.load(root / "mobilenetv2_features.npz")
    rows = range(0, 1000, 34)
    files = [f"images/{archive['names'][row]}" for row in rows]
    weights = real_data / "weights" / "mobilenetv2_100_224_tf2ptq_fp16.safetensors"
    args = {"pad_type": "same", "pretrained_cfg_overlay": {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}}
    encoder = TimmEncoder(Pixels(224), 5, "mobilenetv2_100", args, weights=str(weights), frozen=True)
    pictures = Pictures(crop=224, resize=224).content(root, files, training=False).rows(torch.arange(len(files)))
    ours = encoder.backbone((pictures - encoder.mean) / encoder.std)
    theirs = torch.from_numpy(archive["features"][list(rows)]).float()
    assert torch.cosine_similarity(ours, theirs).min() > 0.99
