"""Collapsed embeddings: what a board's tie rule is tested by."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from cmr_lightning.batch import DataSpec, Items, Task, Text, count
from cmr_lightning.closed_form import Untrained
from cmr_lightning.embedding_model import Modality


class Collapsed(Untrained):
    """The same constant vector for every item. Scores chance under a fair tie rule, and anything else under others."""

    tasks: ClassVar[tuple[Task, ...]] = ("label", "instance", "composed")

    def __init__(self, spec: DataSpec) -> None:
        super().__init__(spec)

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed every item as `(1, 1)`."""
        return torch.ones(len(images), 2, device=self.device)

    def embed_texts(self, texts: Text) -> Tensor:
        """Embed every item as `(1, 1)`."""
        return torch.ones(count(texts), 2, device=self.device)

    def embed_items(self, items: Items, modality: Modality) -> Tensor:
        """Embed every item, also a composed query, as `(1, 1)`."""
        return torch.ones(count(items.content), 2, device=self.device)
