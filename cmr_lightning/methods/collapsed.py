"""Collapsed embeddings: what a board's tie rule is tested by."""

from typing import ClassVar

import torch
from torch import Tensor

from cmr_lightning.batch import ComposedQuery, Task, Text, count
from cmr_lightning.closed_form import Untrained


class Collapsed(Untrained):
    """The same constant vector for every item. Scores chance under a fair tie rule, and anything else under others."""

    tasks: ClassVar[tuple[Task, ...]] = ("label", "instance", "composed")

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed every image as `(1, 1)`."""
        return self.embed_texts(images)

    def embed_texts(self, texts: Text | ComposedQuery) -> Tensor:
        """Embed every text, or composed query, as `(1, 1)`."""
        return torch.ones(count(texts), 2, device=self.device)
