import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cmr_lightning.batch import Pixels
from cmr_lightning.encoders import TimmEncoder
from cmr_lightning.encoders.timm_weights import create_backbone
from cmr_lightning.errors import UserError

MODEL = "test_resnet"
OPTION = r"image_encoder\.init_args\.weights"


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    """A model whose weights somebody saved, with its classifier."""
    torch.manual_seed(7)
    return timm.create_model(MODEL, num_classes=11)


def same(backbone: nn.Module, donor: nn.Module) -> bool:
    theirs = donor.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in backbone.state_dict().items())


def as_safetensors(tensors: dict[str, Tensor], path: Path) -> Path:
    save_file(tensors, path)
    return path


def as_pth(tensors: dict[str, Tensor], path: Path) -> Path:
    torch.save({"state_dict": tensors, "epoch": 3}, path)
    return path


@pytest.mark.parametrize(("write", "name"), [(as_safetensors, "w.safetensors"), (as_pth, "w.pth")])
def test_weights_of_a_file_without_its_classifier(donor: nn.Module, tmp_path: Path, write: Any, name: str) -> None:
    backbone = create_backbone(MODEL, str(write(donor.state_dict(), tmp_path / name)), {})
    assert same(backbone, donor)
    assert not any(key.startswith("fc.") for key in backbone.state_dict())


def test_half_precision_files_make_full_precision_models(donor: nn.Module, tmp_path: Path) -> None:
    halves = {name: t.half() if t.is_floating_point() else t for name, t in donor.state_dict().items()}
    backbone = create_backbone(MODEL, str(as_safetensors(halves, tmp_path / "w.safetensors")), {})
    assert all(p.dtype == torch.float32 for p in backbone.parameters())
    assert torch.equal(backbone.get_parameter("conv1.0.weight"), halves["conv1.0.weight"].float())


def test_folder_says_how_its_weights_want_their_input(donor: nn.Module, tmp_path: Path) -> None:
    timm.models.save_for_hf(donor, tmp_path, model_config={"pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}})
    config = json.loads((tmp_path / "config.json").read_text())
    config["pretrained_cfg"]["std"] = [0.5, 0.6, 0.7]
    (tmp_path / "config.json").write_text(json.dumps(config))
    encoder = TimmEncoder(Pixels(32), 3, MODEL, weights=str(tmp_path))
    assert same(encoder.backbone, donor)
    assert torch.allclose(encoder.std.flatten() / 255, torch.tensor([0.5, 0.6, 0.7]))
    assert torch.allclose(encoder.mean.flatten() / 255, torch.tensor(config["pretrained_cfg"]["mean"]))
    mine = {"pretrained_cfg_overlay": {"std": (1.0, 1.0, 1.0)}}
    assert TimmEncoder(Pixels(32), 3, MODEL, mine, weights=str(tmp_path)).std.flatten().tolist() == [255] * 3


def test_image_tower_of_clip_as_its_own_code_saves_it(tmp_path: Path) -> None:
    args = {"img_size": 32, "patch_size": 16, "embed_dim": 16, "depth": 1, "num_heads": 2}
    torch.manual_seed(3)
    tower = timm.create_model("vit_base_patch16_clip_224", num_classes=0, **args)
    swaps = {"patch_embed.proj": "conv1", "norm_pre": "ln_pre", "blocks.0": "transformer.resblocks.0"}
    swaps |= {"attn.qkv.": "attn.in_proj_", "attn.proj": "attn.out_proj", "norm1": "ln_1", "norm2": "ln_2"}
    swaps |= {"mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    swaps |= {"pos_embed": "positional_embedding", "cls_token": "class_embedding"}
    saved = {"logit_scale": torch.zeros(()), "visual.proj": torch.zeros(16, 8)}
    for name, tensor in tower.state_dict().items():
        theirs = "ln_post" + name.removeprefix("norm") if name.startswith("norm.") else name
        for ours, other in swaps.items():
            theirs = theirs.replace(ours, other)
        saved[f"visual.{theirs}"] = tensor.squeeze().clone() if name in ("pos_embed", "cls_token") else tensor
    file = as_safetensors(saved, tmp_path / "open_clip_model.safetensors")
    assert same(create_backbone("vit_base_patch16_clip_224", str(file), args), tower)


def test_missing_unexpected_and_other_tensors_are_named(donor: nn.Module, tmp_path: Path) -> None:
    whole = donor.state_dict()
    spoiled = {
        "bn1.weight": {name: tensor for name, tensor in whole.items() if name != "bn1.weight"},
        "adapter.weight": {**whole, "adapter.weight": torch.zeros(3)},
        "bn1.bias": {**whole, "bn1.bias": torch.zeros(3)},
    }
    for name, tensors in spoiled.items():
        file = as_safetensors(tensors, tmp_path / f"{name}.safetensors")
        with pytest.raises(UserError, match=rf"{name}\.safetensors do not fit test_resnet .*{name}"):
            create_backbone(MODEL, str(file), {})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("broken.safetensors", "broken.safetensors cannot be read as weights"),
        ("broken.pth", "broken.pth cannot be read as weights"),
        ("unsafe.pth", r"unsafe.pth cannot be read as weights .* \.pth file that holds tensors and nothing else"),
        ("classifier.pth", rf"classifier.pth, given as {OPTION}, holds no weights of test_resnet"),
        ("nowhere", rf"nowhere, given as {OPTION}, is no file and no folder"),
        ("empty", r"empty, given as .*, should hold config\.json and model\.safetensors"),
        ("other", r"other holds weights of resnet10t, but image_encoder\.init_args\.model is test_resnet"),
        ("no_config", r"config\.json is no config of a timm model \(KeyError\('architecture'\)\)"),
    ],
)
def test_what_is_no_weights_of_the_model_is_refused(donor: nn.Module, tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    (tmp_path / "broken.pth").write_bytes(b"no tensors")
    torch.save({"state_dict": Path}, tmp_path / "unsafe.pth")
    as_pth({"fc.weight": torch.zeros(3)}, tmp_path / "classifier.pth")
    (tmp_path / "empty").mkdir()
    for folder, config in (("other", '{"architecture": "resnet10t"}'), ("no_config", "{}")):
        timm.models.save_for_hf(donor, tmp_path / folder)
        (tmp_path / folder / "config.json").write_text(config)
    with pytest.raises(UserError, match=says):
        create_backbone(MODEL, str(tmp_path / name), {})


def test_missing_weights_of_the_hub_are_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=rf"^timm/resnet152\.tv_in1k .* model\.safetensors .* {OPTION}"):
        create_backbone("resnet152.tv_in1k", "hub", {})


@pytest.mark.parametrize("there", ["model.safetensors", "pytorch_model.bin"])
def test_weights_in_the_cache_of_the_hub_are_used(
    donor: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, there: str
) -> None:
    file = as_pth(donor.state_dict(), tmp_path / "w.pth")

    def cached(hub_id: str, name: str, local_files_only: bool) -> str:
        assert (hub_id, local_files_only) == ("timm/test_resnet.r160_in1k", True)
        if name != there:
            raise FileNotFoundError
        return str(file)

    monkeypatch.setattr("cmr_lightning.encoders.timm_weights.hf_hub_download", cached)
    assert same(create_backbone(f"{MODEL}.r160_in1k", "hub", {}), donor)


@pytest.mark.parametrize(
    ("model", "weights", "args", "says"),
    [
        ("resnet5", "none", {}, r"no model 'resnet5'; .*list_models"),
        ("resnet18.nowhere", "none", {}, "no weights 'nowhere' of resnet18; those that it knows are .*tv_in1k"),
        (MODEL, "none", {"wings": 2}, "model_args: .*'wings'"),
        ("mobilenetv2_035", "hub", {}, "timm has no weights of mobilenetv2_035"),
    ],
)
def test_unknown_models_tags_and_arguments_are_refused(
    model: str, weights: str, args: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        create_backbone(model, weights, args)


@pytest.mark.parametrize(
    ("model", "args", "file"),
    [
        ("mobilenetv2_100", {}, "mobilenetv2_100_224_tf2ptq_fp16"),
        ("mobilenetv2_035", {"bn_eps": 1e-3}, "mobilenetv2_035_224_keras_notop"),
    ],
)
def test_real_weights_fit(real_data: Path, model: str, args: dict[str, Any], file: str) -> None:
    path = real_data / "weights" / f"{file}.safetensors"
    backbone = create_backbone(model, str(path), {"pad_type": "same", **args})
    random = create_backbone(model, "none", {"pad_type": "same", **args})
    ours, theirs = backbone.state_dict(), random.state_dict()
    assert not any(torch.equal(ours[name], theirs[name]) for name in ours if name.endswith(("conv_dw.weight",)))


@pytest.mark.parametrize("model", ["hf-hub:timm/test_resnet.r160_in1k", "hf_hub:timm/test_resnet", "timm/test_resnet"])
def test_addresses_on_the_hub_are_understood(donor: nn.Module, tmp_path: Path, model: str) -> None:
    backbone = create_backbone(model, str(as_safetensors(donor.state_dict(), tmp_path / "w.safetensors")), {})
    assert same(backbone, donor)


@pytest.mark.parametrize("model", ["hf-hub:somebody/model", "local-dir:/srv/model", "somebody/test_resnet"])
def test_models_of_others_are_named_by_architecture_and_folder(model: str) -> None:
    with pytest.raises(UserError, match=f"model is {model.removeprefix('hf-hub:')}, but .* folder .* as {OPTION}"):
        create_backbone(model, "none", {})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_chans": 1}, r"model_args\.in_chans is 1, but pictures have three channels"),
        ({"in_chans": 4}, r"model_args\.in_chans is 4, but"),
        ({"pretrained_cfg_overlay": {"mean": [0.5]}}, r"overlay\.mean is \[0\.5\] and should be three numbers, of red"),
        ({"pretrained_cfg_overlay": {"mean": 0.5}}, r"overlay\.mean is 0\.5 and"),
        ({"pretrained_cfg_overlay": {"mean": "rgb"}}, r"overlay\.mean is rgb and"),
        ({"pretrained_cfg_overlay": {"std": [1, 0, 1]}}, r"overlay\.std is \[1, 0, 1\] and .* numbers, above 0"),
        ({"pretrained_cfg_overlay": {"std": [1, float("nan"), 1]}}, r"overlay\.std is \[1, nan, 1\] and"),
        ({"pretrained_cfg_overlay": [0.5]}, r"overlay is \[0\.5\] and should be a mapping"),
        ({"num_classes": 5}, r"timm cannot make test_resnet with .*num_classes"),
    ],
)
def test_arguments_that_do_not_fit_pictures_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        create_backbone(MODEL, "none", arguments)


def test_models_of_several_maps_are_refused() -> None:
    with pytest.raises(UserError, match=r"makes no vector of a picture but several; .*features_only out"):
        TimmEncoder(Pixels(32), 5, MODEL, {"features_only": True})
