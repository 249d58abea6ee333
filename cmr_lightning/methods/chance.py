"""Baselines at chance level: random embeddings, which all rows must beat, and collapsed ones, to test the tie rule."""

from typing import ClassVar

import torch
from torch import Tensor

from cmr_lightning.batch import ComposedQuery, DataSpec, Items, Task, Text, count
from cmr_lightning.closed_form import Untrained
from cmr_lightning.embedding_model import MODALITIES, Modality
from cmr_lightning.ranges import Width

_BLOCK = 16  # torch draws normal numbers in blocks of 16: only then do more rows leave the earlier ones as they were


class Random(Untrained):
    """Gaussian vectors `(N, dim)` by the seed of the run, one per item, blind to its content: chance everywhere.

    Args:
        spec: What the model knows of the data.
        dim: Size D of the common space.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("label", "instance", "composed")

    def __init__(self, spec: DataSpec, dim: Width = 64) -> None:
        super().__init__(spec)
        self.dim = dim
        self.seed = torch.initial_seed()

    def embed_images(self, images: Tensor) -> Tensor:
        """Refuse: an embedding depends on the item's place, not on its content."""
        raise TypeError("Random embeds items by their index; call embed_items")

    def embed_texts(self, texts: Text) -> Tensor:
        """Refuse, as `embed_images` does."""
        raise TypeError("Random embeds items by their index; call embed_items")

    def embed_items(self, items: Items, modality: Modality) -> Tensor:
        """Draw a vector per item by seed, modality and index, whatever the batches and the device."""
        generator = torch.Generator().manual_seed((2 * self.seed + MODALITIES.index(modality)) % 2**63)
        width = -(-self.dim // _BLOCK) * _BLOCK
        everything = torch.randn(int(items.position.max()) + 1, width, generator=generator)[:, : self.dim]
        return everything.to(items.position.device)[items.position]


class Collapsed(Untrained):
    """The same constant vector for every item. Scores chance under a fair tie rule, and anything else under others."""

    tasks: ClassVar[tuple[Task, ...]] = ("label", "instance", "composed")

    def embed_images(self, images: Tensor) -> Tensor:
        """Embed every image as `(1, 1)`."""
        return self.embed_texts(images)

    def embed_texts(self, texts: Text | ComposedQuery) -> Tensor:
        """Embed every text, or composed query, as `(1, 1)`."""
        return torch.ones(count(texts), 2, device=self.device)
