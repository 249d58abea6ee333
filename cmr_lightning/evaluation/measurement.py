"""From embeddings to metrics, in all directions and under all protocols, with each ranking computed once."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.metrics import score
from cmr_lightning.evaluation.protocols import Protocol
from cmr_lightning.evaluation.ranks import Ranks, rank
from cmr_lightning.evaluation.relevance import Compositions, Judgements, Relevance

ByDirection = Mapping[str, Ranks]
Keys = Mapping[str, tuple[Tensor, Tensor]]
Rows = Tensor | slice


@dataclass(frozen=True)
class Measurement:
    """The result of an evaluation.

    Attributes:
        metrics: For each protocol id the values of its directions and their `mean`; for rsum also their `sum`, which is
            the number that the literature reports.
        ranks: The rankings behind them, by names such as `i2t/cos/label`; those of folds one by one, counted from 1, as
            `i2t/cos/instance/5fold/1`. Queries are in the order of the items; under judgements only the judged ones.
    """

    metrics: dict[str, dict[str, float]]
    ranks: dict[str, Ranks]


def measure(
    images: Tensor,
    texts: Tensor,
    keys: Keys,
    protocols: Sequence[Protocol],
    queries: tuple[Tensor, Tensor] | None = None,
    judgements: Mapping[str, Judgements] | None = None,
) -> Measurement:
    """Rank texts for every image and images for every text, and measure under all protocols.

    Folds are blocks of consecutive images, each with the texts of its images by their `instance` keys; if the images do
    not divide evenly, the first folds have one image more than the last. Every fold counts the same.

    Args:
        images: Embeddings `(N, D)`, each image once.
        texts: Embeddings `(M, D)`, each text once.
        keys: For each relevance that the protocols name, the keys of the images and of the texts, see `Relevance`.
        protocols: The protocols.
        queries: Masks of the images `(N,)` and texts `(M,)` that are queries, bool; all others are the gallery. None if
            every item is both.
        judgements: For each relevance that has lists instead of keys, the lists.

    Raises:
        UserError: Embeddings are not finite, a protocol asks for a relevance that has neither keys nor lists, or there
            are more folds than images.
        ValueError: Folds are asked for although not every item is both query and gallery.

    Examples:
        >>> images, texts = torch.eye(3), torch.eye(3)[[0, 2, 1]]
        >>> keys = {"instance": (torch.arange(3), torch.arange(3))}
        >>> found = measure(images, texts, keys, [Protocol("recall", "instance", k=1)]).metrics["recall@1/cos/instance"]
        >>> print({direction: round(value, 1) for direction, value in found.items()})
        {'i2t': 33.3, 't2i': 33.3, 'mean': 33.3}
    """
    lists = judgements or {}
    _check_keys(protocols, (*keys, *lists))

    def ranked(protocol: Protocol) -> Iterator[ByDirection]:
        if protocol.relevance in lists:
            of_images, of_texts = (positives.to(images.device) for positives in lists[protocol.relevance])
            yield {
                "i2t": rank(images[of_images.rows], texts, of_images, protocol.distance),
                "t2i": rank(texts[of_texts.rows], images, of_texts, protocol.distance),
            }
            return
        image_keys, text_keys = keys[protocol.relevance]
        for asking_images, asking_texts, gallery_images, gallery_texts in _folds(keys, protocol, queries):
            i2t = Relevance(image_keys[asking_images], text_keys[gallery_texts])
            t2i = Relevance(text_keys[asking_texts], image_keys[gallery_images])
            yield {
                "i2t": rank(images[asking_images], texts[gallery_texts], i2t, protocol.distance),
                "t2i": rank(texts[asking_texts], images[gallery_images], t2i, protocol.distance),
            }

    return _measured(protocols, ranked)


def _folds(
    keys: Keys, protocol: Protocol, queries: tuple[Tensor, Tensor] | None
) -> Iterator[tuple[Rows, Rows, Rows, Rows]]:
    """Yield the rows of the images and texts that are queries, and of those that are gallery, for each fold."""
    if protocol.folds is None:
        everything = slice(None)
        yield (*queries, ~queries[0], ~queries[1]) if queries is not None else (everything,) * 4
        return
    if queries is not None:
        raise ValueError("folds are defined where every item is query and gallery")
    image_ids, text_ids = keys["instance"]
    if len(image_ids) < protocol.folds:
        raise UserError(
            f"{protocol.id} divides the images into {protocol.folds} folds, but there are {len(image_ids)}."
        )
    for images in torch.arange(len(image_ids), device=image_ids.device).tensor_split(protocol.folds):
        texts = torch.isin(text_ids, image_ids[images])
        yield images, texts, images, texts


def measure_composed(
    images: Tensor, queries: Tensor, compositions: Compositions, protocols: Sequence[Protocol]
) -> Measurement:
    """Rank the other images for every composed query, and measure under all protocols.

    The source image of a query is not among its results, even if it would be right. In folds, a query searches only the
    fold of its source; every fold counts the same.

    Args:
        images: Embeddings `(M, D)`, each image once.
        queries: Embeddings `(Q, D)`.
        compositions: Sources and targets of the queries.
        protocols: The protocols.

    Raises:
        UserError: Embeddings are not finite, or a protocol asks for a relevance or folds that the data do not have.
    """
    source, target, keys, fold = compositions
    _check_keys(protocols, ("target", *keys))

    def ranked(protocol: Protocol) -> Iterator[ByDirection]:
        key = torch.arange(len(images)) if protocol.relevance == "target" else keys[protocol.relevance]
        for gallery in _galleries(len(images), fold, protocol):
            asking = torch.isin(source, gallery).nonzero().flatten()
            place = torch.full((len(images),), -1).index_copy(0, gallery, torch.arange(len(gallery)))
            ranks = rank(
                queries[asking.to(queries.device)],
                images[gallery.to(images.device)],
                Relevance(key[target[asking]], key[gallery]),
                protocol.distance,
                excluded=place[source[asking]],
            )
            yield {"c2i": ranks}

    return _measured(protocols, ranked)


def _galleries(images: int, fold: Tensor | None, protocol: Protocol) -> list[Tensor]:
    """Return the rows of the images that are searched together: all of them, or those of each fold."""
    if protocol.folds is None:
        return [torch.arange(images)]
    found = 0 if fold is None else len(fold.unique())
    if fold is None or found != protocol.folds:
        raise UserError(f"{protocol.id} is a mean over {protocol.folds} folds, but these data have {found}.")
    return [(fold == number).nonzero().flatten() for number in fold.unique()]


def _check_keys(protocols: Sequence[Protocol], known: Collection[str]) -> None:
    for protocol in protocols:
        if protocol.relevance not in known:
            raise UserError(f"{protocol.id} needs {protocol.relevance} keys, which these data do not have.")


def _measured(protocols: Sequence[Protocol], ranked: Callable[[Protocol], Iterator[ByDirection]]) -> Measurement:
    """Compute metrics under all protocols, given the function that ranks the folds of a protocol."""
    rankings: dict[str, list[ByDirection]] = {}
    metrics: dict[str, dict[str, float]] = {}
    ranks: dict[str, Ranks] = {}
    for protocol in protocols:
        if protocol.ranking not in rankings:
            rankings[protocol.ranking] = list(ranked(protocol))
        folds = rankings[protocol.ranking]
        values = {d: float(np.mean([score(fold[d], protocol) for fold in folds])) for d in protocol.directions}
        total = sum(values.values())
        metrics[protocol.id] = {**values, "mean": total / len(values)}
        if protocol.metric == "rsum":
            metrics[protocol.id]["sum"] = total
        for d in protocol.directions:
            ranks |= {name: fold[d] for name, fold in zip(protocol.rankings(d), folds, strict=True)}
    return Measurement(metrics, ranks)
