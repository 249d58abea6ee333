"""Weights of timm models: from the hub, from a file or from a folder, and strictly all of them.

timm makes the model, reads files and configs, and renames tensors. Two things are done by hand: the classifier's
weights are left out before timm sees the others, since it no longer checks names where it leaves them out itself; and
files are fetched by `from_hub`, since timm asks the network for files that are in the cache as well.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from textwrap import shorten
from typing import Any

import timm
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from torch import Tensor, nn

from cmr_lightning.errors import UserError
from cmr_lightning.files.hub import from_hub

_OPTION = "image_encoder.init_args.weights"
_ARGUMENTS = "image_encoder.init_args.model_args"
_IN_FOLDERS = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_CLIP_PROJECTION = ("visual.proj", "module.visual.proj")  # the head of an image tower, where CLIP's own code saved it
_UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, AttributeError, UnpicklingError, SafetensorError)


def create_backbone(model: str, weights: str, model_args: Mapping[str, Any]) -> nn.Module:
    """Make a timm model without its classifier.

    All weights but the classifier's must be there, and nothing else. timm converts what it knows of other people's
    naming, and position embeddings of another size.

    Args:
        model: Name of the timm model, perhaps with its address on the hub: `hf-hub:timm/resnet18.a1_in1k`.
        weights: `none`, `hub`, or the path of a file or folder.
        model_args: Arguments of `timm.create_model`.

    Raises:
        UserError: If timm does not know the model or an argument, or weights are missing or do not fit.
    """
    model = model.removeprefix("hf-hub:").removeprefix("hf_hub:").removeprefix("timm/")
    _check_name(model)
    _check_arguments(model_args)
    if weights == "none":
        return _create(model, model_args, {})
    source, file = _find(model, weights)
    tensors = _without_classifier(_read(file), _create(source, model_args, {}))
    if not tensors:
        raise UserError(f"{file}, given as {_OPTION}, holds no weights of {model}.")
    # No source, or timm would read the folder itself. As many classes as the model, none, so that timm checks the
    # names; label_offset belongs to the classifier.
    overlay = {"source": "", "state_dict": tensors, "num_classes": 0, "label_offset": None}
    try:
        backbone = _create(source, model_args, overlay, pretrained=True)
    except (RuntimeError, KeyError) as error:
        reason = shorten(str(error), 400, placeholder=" ...")  # timm may list hundreds of tensors
        raise UserError(
            f"The weights in {file} do not fit {model} ({reason}); give the file of that very model, or the "
            f"model_args that it was made with."
        ) from error
    backbone.pretrained_cfg.pop("state_dict")  # a second copy of all weights
    return backbone


def _check_name(model: str) -> None:
    if "/" in model:
        raise UserError(
            f"image_encoder.init_args.model is {model}, but should be a name of timm's; to use the weights of somebody "
            f"else, name their architecture, such as resnet18, and give the folder that they are in as {_OPTION}."
        )
    if not timm.is_model(model):
        raise UserError(
            f"timm has no model {model!r}; `python -c 'import timm; print(timm.list_models())'` lists them."
        )
    try:
        timm.get_pretrained_cfg(model)
    except RuntimeError as error:
        name, _, tag = model.partition(".")
        tags = ", ".join(known.partition(".")[2] for known in timm.list_pretrained(f"{name}.*"))
        raise UserError(f"timm knows no weights {tag!r} of {name}; those that it knows are {tags}.") from error


def _check_arguments(model_args: Mapping[str, Any]) -> None:
    """Refuse what would make a model for other pictures than those that data sets serve."""
    if (channels := model_args.get("in_chans", 3)) != 3:
        raise UserError(
            f"{_ARGUMENTS}.in_chans is {channels}, but pictures have three channels, grey ones too; leave it out."
        )
    overlay = model_args.get("pretrained_cfg_overlay", {})
    if not isinstance(overlay, Mapping):
        raise UserError(f"{_ARGUMENTS}.pretrained_cfg_overlay is {overlay!r} and should be a mapping, such as of mean.")
    for key in ("mean", "std"):
        numbers = overlay.get(key, (0.5, 0.5, 0.5))
        if not isinstance(numbers, Sequence) or len(numbers) != 3 or not all(_is_number(n, key) for n in numbers):
            above = ", above 0" if key == "std" else ""
            raise UserError(
                f"{_ARGUMENTS}.pretrained_cfg_overlay.{key} is {numbers} and should be three numbers{above}, of red, "
                f"green and blue."
            )


def _is_number(value: object, key: str) -> bool:
    return isinstance(value, int | float) and math.isfinite(value) and (key == "mean" or value > 0)


def _create(source: str, model_args: Mapping[str, Any], overlay: Mapping[str, Any], pretrained: bool = False) -> Any:
    arguments = dict(model_args)
    overlay = {**overlay, **arguments.pop("pretrained_cfg_overlay", {})}
    try:
        return timm.create_model(
            source, pretrained=pretrained, num_classes=0, pretrained_cfg_overlay=overlay, **arguments
        )
    except TypeError as error:
        raise UserError(f"timm cannot make {source} with {_ARGUMENTS}: {error}.") from error


def _find(model: str, weights: str) -> tuple[str, Path]:
    """Find the file of the weights, and what timm makes their model from: its name, or a folder with a config."""
    path = Path(weights).expanduser()
    if weights == "hub":
        return model, _fetch(model)
    if path.is_file():
        return model, path
    if path.is_dir():
        return f"local-dir:{path}", _in_folder(path, model)
    raise UserError(f"{weights}, given as {_OPTION}, is no file and no folder; it may also be `hub` or `none`.")


def _fetch(model: str) -> Path:
    config = timm.get_pretrained_cfg(model)
    if config is None or not config.hf_hub_id:
        raise UserError(
            f"timm has no weights of {model} on the hub; give the path of a file as {_OPTION}, or choose one of the "
            f"models that `timm.list_pretrained()` names."
        )
    hub_id = config.hf_hub_id
    first, second = (config.hf_hub_filename, config.hf_hub_filename) if config.hf_hub_filename else _IN_FOLDERS[:2]

    def load(local: bool) -> Path:
        try:
            return Path(hf_hub_download(hub_id, first, local_files_only=local))
        except OSError:  # of some models there is no .safetensors file
            return Path(hf_hub_download(hub_id, second, local_files_only=local))

    return from_hub(load, hub_id, first, f"{_OPTION}, a file or its folder")


def _in_folder(folder: Path, model: str) -> Path:
    files = [folder / name for name in _IN_FOLDERS if (folder / name).is_file()]
    if not files or not (folder / "config.json").is_file():
        raise UserError(
            f"The folder {folder}, given as {_OPTION}, should hold config.json and {_IN_FOLDERS[0]}, as on the hub and "
            f"as timm.models.save_for_hf writes them; complete it, or give the file of the weights itself."
        )
    try:
        architecture = json.loads((folder / "config.json").read_text())["architecture"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / 'config.json'} is no config of a timm model ({error!r}); get it again.") from error
    if architecture != model.partition(".")[0]:
        raise UserError(
            f"The folder {folder} holds weights of {architecture}, but image_encoder.init_args.model is {model}; make "
            f"the two agree."
        )
    return files[0]


def _read(file: Path) -> dict[str, Tensor]:
    try:
        return timm.models.load_state_dict(str(file), weights_only=True)
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()).partition(". ")[0]
        raise UserError(
            f"{file} cannot be read as weights ({reason}); it should be a .safetensors file, or a .pth file that holds "
            f"tensors and nothing else."
        ) from error


def _without_classifier(tensors: Mapping[str, Tensor], backbone: Any) -> dict[str, Tensor]:
    classifier = backbone.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    heads = {name.partition(".")[0] for name in names}
    kept = backbone.state_dict().keys()
    return {
        name: tensor
        for name, tensor in tensors.items()
        if name in kept or (name.partition(".")[0] not in heads and name not in _CLIP_PROJECTION)
    }
