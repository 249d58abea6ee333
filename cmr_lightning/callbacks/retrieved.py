"""First results of some queries of the test part, and which of them are right."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cmr_lightning.embedding_model import Embeddings, Modality
from cmr_lightning.evaluation import Protocol, Relevance, top

SIDES: dict[str, tuple[Modality, Modality]] = {
    "i2t": ("image", "text"),
    "t2i": ("text", "image"),
    "c2i": ("text", "image"),
}
"""Who asks and who answers in each direction; composed queries are the texts of their data."""


class Results(NamedTuple):
    """What some queries found, best first, and whether it is right, `(Q, k)` each; items are rows of the part."""

    found: Tensor
    right: Tensor


def asking(part: Any, direction: str) -> Tensor:
    """Rows of the items that ask in a direction."""
    return part.asking(SIDES[direction][0])


def first_results(part: Any, embedded: Embeddings, main: Protocol, direction: str, queries: Tensor, k: int) -> Results:
    """The first k results of some queries of a part.

    Args:
        part: The part.
        embedded: All its images and texts.
        main: The protocol that says what is right, and what ranks.
        direction: One of the protocol's directions.
        queries: Rows of the queries `(Q,)`.
        k: How many results, or all where there are fewer.
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
    """The same for composed queries: none finds its own source, and in folds each searches that of its source."""
    keys, fold = part.key(main.relevance), part.fold if main.folds else torch.zeros(part.num_images)
    k = min(k, int(torch.unique(fold, return_counts=True)[1].min()) - 1)
    found = torch.empty(len(queries), k, dtype=torch.int64)
    for number in fold.unique():
        items = (fold == number).nonzero().flatten()
        rows = (fold[part.owner[queries]] == number).nonzero().flatten()
        if not len(rows):
            continue
        sources = torch.searchsorted(items, part.owner[queries[rows]])
        asking, answering = _rows(embedded, "text", queries[rows]), _rows(embedded, "image", items)
        found[rows] = items[top(asking, answering, main.distance, k, excluded=sources).cpu()]
    return Results(found, keys[found] == keys[part.target[queries]][:, None])


def _rows(embedded: Embeddings, modality: Literal["image", "text"], rows: Tensor) -> Tensor:
    items = getattr(embedded, modality)
    return items[rows.to(items.device)]
