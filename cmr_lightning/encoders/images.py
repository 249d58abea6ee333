"""Encoder of pictures."""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from cmr_lightning.batch import Input, Pixels
from cmr_lightning.encoders.backbone import BackboneEncoder
from cmr_lightning.encoders.timm_weights import create_backbone
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Name, Positive, PositiveShare, Width


class TimmEncoder(BackboneEncoder):
    """Any image model of timm, its pooled features projected linearly into the common space.

    Pictures are normalised as timm's data config of the weights says; `model_args: {pretrained_cfg_overlay: {mean: ...,
    std: ...}}` overrides it for weights that were trained otherwise. A model that takes pictures of one size only needs
    `data.image.crop` to be that size.

    The image towers of CLIP and SigLIP are timm models as well: `vit_base_patch16_clip_quickgelu_224.openai` is
    OpenAI's ViT-B/16 (without `quickgelu` its weights run with another activation than they were trained with),
    `vit_base_patch16_siglip_224.webli` is SigLIP's. Their features are those before the projection into CLIP's own
    space, which would be the classifier.

    Args:
        source: Form of the input; must be pictures.
        dim: Size D of the common space.
        model: Name of the timm model, with a tag where the hub has several weights: `resnet152.tv_in1k`, or its address
            there: `hf-hub:timm/resnet152.tv_in1k`.
        model_args: Further arguments of `timm.create_model`.
        weights: `none` to start from random weights, `hub` for the published ones, or the path of a .safetensors or
            .pth file, or of a folder with config.json and weights as on the hub. Weights of the classifier are dropped.
        frozen: Keep the backbone as it is.
        backbone_lr_scale: Learning rate of the backbone as a multiple of the optimizer's.
        backbone_layer_decay: Learning rate of each layer as a multiple of that of the layer after it, 0 to 1.
        gradient_checkpointing: Compute activations of the backbone again in the backward pass instead of keeping them:
            less memory, more time.

    Raises:
        UserError: If the data set serves something else than pictures, timm does not know the model, weights are
            missing or do not fit, the model does not take pictures of that size, or cannot checkpoint.
    """

    backbone: Any  # a model of timm, with more methods than nn.Module has
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        source: Input,
        dim: Width,
        model: Name,
        model_args: dict[str, Any] | None = None,
        weights: Name = "none",
        frozen: bool = False,
        backbone_lr_scale: Positive = 1.0,
        backbone_layer_decay: PositiveShare = 1.0,
        gradient_checkpointing: bool = False,
    ) -> None:
        if not isinstance(source, Pixels):
            raise UserError(f"TimmEncoder encodes pictures, but the data set serves {source}; use FeatureMLP.")
        backbone = create_backbone(model, weights, model_args or {})
        config = timm.data.resolve_model_data_config(backbone)
        features = _count_features(backbone, source.size, model, config)
        super().__init__(backbone, features, dim, frozen, backbone_lr_scale, backbone_layer_decay)
        self._size = source.size
        if gradient_checkpointing:
            try:
                self.backbone.set_grad_checkpointing(True)
            except (AssertionError, AttributeError) as error:
                raise UserError(
                    f"{model} has no gradient checkpointing; set image_encoder.init_args.gradient_checkpointing to "
                    f"false."
                ) from error
        # in the checkpoint, as timm may come to say otherwise
        self.register_buffer("mean", torch.tensor(config["mean"]).view(3, 1, 1) * 255)
        self.register_buffer("std", torch.tensor(config["std"]).view(3, 1, 1) * 255)

    def without_files(self) -> dict[str, Any]:
        """Return the arguments by which it is built again without the files that it started from."""
        return {"weights": "none"}

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode pictures `(N, 3, H, W)`, uint8, as embeddings `(N, D)`."""
        with self.recording():
            features = self.backbone(self._normalised(pictures))
        return self.projection(features)

    def _normalised(self, pictures: Tensor) -> Tensor:
        return (pictures - self.mean) / self.std

    # Feature maps, for what works on them before they are pooled -----------------------------------------------------

    def last_map(self, pictures: Tensor) -> Tensor:
        """Compute the map `(N, C, h, w)` that is pooled for the embeddings of pictures `(N, 3, H, W)`."""
        with self.recording():
            return self.backbone.forward_features(self._normalised(pictures))

    def from_last_map(self, features: Tensor) -> Tensor:
        """Compute the embeddings `(N, D)` of last maps `(N, C, h, w)`, as they are or changed."""
        return self.projection(self.backbone.forward_head(features))

    def with_map(self, pictures: Tensor, level: int) -> tuple[Tensor, Tensor]:
        """Compute embeddings `(N, D)` of pictures, and from the same pass their map of a level, `(N, C, h, w)`.

        Levels are timm's: in a ResNet, 0 is the stem and 1 to 4 are `layer1` to `layer4`.
        """
        with self.recording():
            last, (features,) = self.backbone.forward_intermediates(self._normalised(pictures), indices=[level])
        return self.from_last_map(last), features

    def channels(self, level: int | None = None) -> int:
        """Count the channels C of the maps of a level, of the last map where it is None.

        Raises:
            UserError: If the model makes no such map.
        """
        name = type(self.backbone).__name__
        training = self.training
        self.eval()
        try:
            with torch.no_grad():
                blank = torch.zeros(1, 3, self._size, self._size, device=self.mean.device)
                found = self.last_map(blank) if level is None else self.with_map(blank, level)[1]
        except (AssertionError, AttributeError, IndexError, ValueError) as error:
            raise UserError(f"{name} has no feature map of level {level} ({error}).") from error
        finally:
            self.train(training)
        if found.ndim != 4:
            raise UserError(f"{name} has no feature maps but features of shape {tuple(found.shape)}; choose a CNN.")
        return found.shape[1]


def with_maps(encoder: nn.Module, need: str, remedy: str) -> TimmEncoder:
    """Return an image encoder that makes feature maps, unchanged.

    Raises:
        UserError: If it makes none: "`need` feature map of pictures, but ... makes none; `remedy`".
    """
    if not isinstance(encoder, TimmEncoder):
        raise UserError(f"{need} feature map of pictures, but {type(encoder).__name__} makes none; {remedy}.")
    return encoder


def _count_features(backbone: nn.Module, size: int, model: str, config: dict[str, Any]) -> int:
    """Encode a picture to learn the size of its feature vector, which not every timm model has as an attribute."""
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, size, size))
    except (AssertionError, RuntimeError) as error:
        side = config["input_size"][-1]
        raise UserError(
            f"{model} cannot encode pictures of {size} x {size} ({error}); it was made for data.image.crop {side} with "
            f"data.image.resize {round(side / config['crop_pct'])}, and some models take another size as "
            f"image_encoder.init_args.model_args.img_size."
        ) from error
    backbone.train()
    if not isinstance(features, Tensor) or features.ndim != 2:
        made = f"features of shape {tuple(features.shape)}" if isinstance(features, Tensor) else "several"
        raise UserError(
            f"{model} with these model_args makes no vector of a picture but {made}; leave model_args.global_pool and "
            f"model_args.features_only out."
        )
    return features.shape[1]
