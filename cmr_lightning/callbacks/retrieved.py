"""What a test has retrieved: the first results of some queries, and which of them are relevant."""

from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from cmr_lightning.embedding_model import EmbeddingModel, Embeddings, Modality
from cmr_lightning.evaluation import Measurement, Protocol, Relevance, top

SIDES: dict[str, tuple[Modality, Modality]] = {
    "i2t": ("image", "text"),
    "t2i": ("text", "image"),
    "c2i": ("text", "image"),
}
"""Modality of queries and gallery in each direction; composed queries are the texts of their data."""


class Results(NamedTuple):
    """Results of some queries, best first, and their relevance, `(Q, k)` each; items are rows of the part."""

    found: Tensor
    right: Tensor


def evaluated(module: pl.LightningModule) -> tuple[EmbeddingModel, Embeddings, Measurement]:
    """Return a model with what it embedded and measured in its last evaluation.

    Raises:
        TypeError: If it is not an `EmbeddingModel`, or was not evaluated.
    """
    if isinstance(module, EmbeddingModel) and module.embedded is not None and module.measurement is not None:
        return module, module.embedded, module.measurement
    raise TypeError(f"{type(module).__name__} is not an EmbeddingModel that was evaluated.")


def first_results(part: Any, embedded: Embeddings, main: Protocol, direction: str, queries: Tensor, k: int) -> Results:
    """Rank the gallery for the queries in some rows `(Q,)` of a part, by relevance and distance of its main protocol.

    There are fewer than `k` results where the gallery has fewer items.
    """
    if direction == "c2i":
        return _composed_results(part, embedded, main, queries, k)
    asked, answered = SIDES[direction]
    image_keys = part.label if main.relevance == "label" else torch.arange(part.num_images)
    keys = {"image": image_keys, "text": image_keys[part.owner]}
    items = part.answering(answered)
    places = top(_rows(embedded, asked, queries), _rows(embedded, answered, items), main.distance, k).cpu()
    right = Relevance(keys[asked][queries], keys[answered][items]).block(slice(None)).gather(1, places)
    return Results(items[places], right)


def _composed_results(part: Any, embedded: Embeddings, main: Protocol, queries: Tensor, k: int) -> Results:
    """Rank images for composed queries, without the query's source and within the fold of the source."""
    keys, fold = part.key(main.relevance), part.fold if main.folds else torch.zeros(part.num_images)
    k = min(k, int(torch.unique(fold, return_counts=True)[1].min()) - 1)
    found = torch.empty(len(queries), k, dtype=torch.int64)
    for number in fold[part.owner[queries]].unique():
        items = (fold == number).nonzero().flatten()
        rows = (fold[part.owner[queries]] == number).nonzero().flatten()
        sources = torch.searchsorted(items, part.owner[queries[rows]])
        asking, answering = _rows(embedded, "text", queries[rows]), _rows(embedded, "image", items)
        found[rows] = items[top(asking, answering, main.distance, k, excluded=sources).cpu()]
    return Results(found, keys[found] == keys[part.target[queries]][:, None])


def _rows(embedded: Embeddings, modality: Modality, rows: Tensor) -> Tensor:
    items = getattr(embedded, modality)
    return items[rows.to(items.device)]
