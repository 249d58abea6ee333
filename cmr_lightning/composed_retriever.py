"""Retrievers of composed queries: an image with a text that says what to change asks for another image."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, ComposedQuery, Items, Task
from cmr_lightning.embedding_model import Embeddings, Modality
from cmr_lightning.encoders import Fusion, with_maps
from cmr_lightning.retriever import Retriever

FusionFactory = Callable[[int, nn.Module], Fusion]
"""Makes a fusion from the size of the common space and the image encoder."""


class ComposedRetriever(Retriever):
    """A retriever whose texts are composed queries: source images and texts, fused to points of the image space.

    Sources and targets go through one image encoder. `Embeddings` hold the targets as images and the queries as texts;
    an alignment aligns targets with queries. A text encoder that the fusion does not read is not trained.

    Args:
        fusion: Class and arguments of the fusion.
        **kwargs: Options of `Retriever`.

    Raises:
        UserError: If the fusion works on a feature map that the image encoder does not have.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("composed",)

    def __init__(self, fusion: FusionFactory, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fusion = fusion(self.dim, self.image_encoder)
        if not self.fusion.reads_text:
            self.text_encoder.requires_grad_(False)

    def embed(self, batch: Batch[ComposedQuery]) -> Embeddings:
        """Embed the targets and queries of a batch."""
        return Embeddings(self.embed_images(batch.image), self.embed_queries(batch.text))

    def embed_queries(self, queries: ComposedQuery) -> Tensor:
        """Embed composed queries as points `(N, D)`."""
        return self.fuse(queries.source, self.embed_texts(queries.text))

    def fuse(self, sources: Tensor, texts: Tensor) -> Tensor:
        """Fuse source images, as `Batch.image`, and texts in the common space `(N, D)` to points `(N, D)`."""
        if self.fusion.on_map:
            encoder = with_maps(self.image_encoder, "The fusion needs a", "choose TimmEncoder with a CNN")
            return encoder.from_last_map(self.fusion(encoder.last_map(sources), texts))
        return self.fusion(self.embed_images(sources) if self.fusion.reads_image else torch.zeros_like(texts), texts)

    def embed_items(self, items: Items, modality: Modality) -> Tensor:
        """Embed images or composed queries as points `(N, D)`."""
        return self.embed_images(items.content) if modality == "image" else self.embed_queries(items.content)

    def encoder_names(self) -> dict[str, str]:
        """Name the classes of the encoders and of the fusion."""
        return {**super().encoder_names(), "fusion": type(self.fusion).__name__}
