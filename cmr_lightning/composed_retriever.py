"""Retrievers of composed queries: an image with a text that says what to change asks for another image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cmr_lightning.batch import Batch, ComposedQuery, DataSpec, Items, Task
from cmr_lightning.embedding_model import Embeddings, Modality
from cmr_lightning.encoders import Fusion, TimmEncoder
from cmr_lightning.retriever import ImageEncoder, Retriever, TextEncoder

FusionFactory = Callable[[int, nn.Module], Fusion]
"""Makes a fusion from the size of the common space and the image encoder."""


class ComposedRetriever(Retriever):
    """A retriever whose texts are composed queries: source images and texts, fused to points of the image space.

    Sources and targets go through one image encoder. `Embeddings` hold the targets as images and the queries as texts;
    the discriminator, if there is one, tries to tell targets from queries. A text encoder that the fusion does not
    read stays as it is.

    Args:
        spec: What the model knows of the data.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        fusion: Class and arguments of the fusion.
        **kwargs: As in `Retriever`.

    Raises:
        UserError: If the fusion works on a feature map that the image encoder does not have.
    """

    tasks: ClassVar[tuple[Task, ...]] = ("composed",)

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        fusion: FusionFactory,
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, image_encoder, text_encoder, **kwargs)
        self.fusion = fusion(self.dim, self.image_encoder)
        if not self.fusion.reads_text:
            self.text_encoder.requires_grad_(False)

    def embed(self, batch: Batch) -> Embeddings:
        """Targets and queries of a batch in the common space."""
        assert isinstance(batch.text, ComposedQuery)
        return Embeddings(self.embed_images(batch.image), self.embed_queries(batch.text))

    def embed_queries(self, queries: ComposedQuery) -> Tensor:
        """Composed queries to points `(N, D)`."""
        return self.fuse(queries.source, self.embed_texts(queries.text))

    def fuse(self, sources: Tensor, texts: Tensor) -> Tensor:
        """Source images, as `Batch.image`, and texts in the common space `(N, D)` to points `(N, D)`."""
        if self.fusion.on_map:
            assert isinstance(self.image_encoder, TimmEncoder)
            return self.image_encoder.from_last_map(self.fusion(self.image_encoder.last_map(sources), texts))
        return self.fusion(self.embed_images(sources) if self.fusion.reads_image else torch.zeros_like(texts), texts)

    def embed_items(self, items: Items, modality: Modality) -> Tensor:
        """Images or composed queries to points `(N, D)`."""
        if isinstance(items.content, ComposedQuery):
            return self.embed_queries(items.content)
        return super().embed_items(items, modality)

    def encoder_names(self) -> dict[str, str]:
        """Class names of the encoders and of the fusion."""
        return {**super().encoder_names(), "fusion": type(self.fusion).__name__}
