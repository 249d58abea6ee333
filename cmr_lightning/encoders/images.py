"""Encoder of pictures."""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from cmr_lightning.batch import Features, Pixels, Words
from cmr_lightning.errors import UserError


class TimmEncoder(nn.Module):
    """Any image model of timm, its pooled features projected linearly into the common space.

    Args:
        source: Form of the input; must be pictures.
        dim: Size D of the common space.
        model: Name of the timm model.
        model_args: Further arguments of `timm.create_model`.

    Raises:
        UserError: If the data set serves something else than pictures, or timm does not know the model.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, source: Features | Pixels | Words, dim: int, model: str, model_args: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(source, Pixels):
            raise UserError(f"TimmEncoder encodes pictures, but the data set serves {source}; use FeatureMLP.")
        if not timm.is_model(model):
            raise UserError(
                f"timm has no model {model!r}; `python -c 'import timm; print(timm.list_models())'` lists them."
            )
        self.backbone = timm.create_model(model, num_classes=0, **(model_args or {}))
        self.projection = nn.Linear(cast(int, self.backbone.num_features), dim)
        config = timm.data.resolve_model_data_config(self.backbone)
        self.register_buffer("mean", torch.tensor(config["mean"]).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(config["std"]).view(3, 1, 1) * 255, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures `(N, 3, H, W)`, uint8, to embeddings `(N, D)`."""
        return self.projection(self.backbone((pictures - self.mean) / self.std))
