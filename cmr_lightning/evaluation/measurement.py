"""From embeddings to metrics: all directions and protocols, each ranking once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

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
    """What an evaluation found.

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

    Folds are blocks of consecutive images, each with the texts of its images by their `instance` keys; where the images
    do not divide evenly, the first folds have one image more than the last. Every fold counts the same.

    Args:
        images: Embeddings `(N, D)`, each image once.
        texts: Embeddings `(M, D)`, each text once.
        keys: For each relevance that the protocols name, the keys of the images and of the texts, see `Relevance`.
        protocols: What to measure.
        queries: Which images `(N,)` and which texts `(M,)` are queries, bool; all others are the gallery. None where
            every item is both.
        judgements: For each relevance that has lists instead of keys, the lists.

    Raises:
        UserError: Embeddings are not finite, a protocol asks for a relevance that has neither keys nor lists, or there
            are more folds than images.
        ValueError: Folds are asked for where not every item is both query and gallery.
    """
    lists = judgements or {}
    _check_keys(protocols, (*keys, *lists))

    def ranked(protocol: Protocol) -> list[ByDirection]:
        if protocol.relevance in lists:
            return [_judged(images, texts, lists[protocol.relevance], protocol)]
        folds = _folds(keys, protocol, queries)
        return [_ranked(images, texts, keys, fold, protocol) for fold in folds]

    return _measured(protocols, ranked)


def measure_composed(
    images: Tensor,
    queries: Tensor,
    compositions: Compositions,
    protocols: Sequence[Protocol],
) -> Measurement:
    """Rank the other images for every composed query, and measure under all protocols.

    The image that a query starts from is not among its results, even if it would be right. In folds, a query searches
    the fold of that image alone; every fold counts the same.

    Args:
        images: Embeddings `(M, D)`, each image once.
        queries: Embeddings `(Q, D)`.
        compositions: What the queries ask for.
        protocols: What to measure.

    Raises:
        UserError: Embeddings are not finite, or a protocol asks for a relevance that has no keys, or for folds that the
            data do not have.
    """
    source, target, keys, fold = compositions
    _check_keys(protocols, ("target", *keys))

    def ranked(protocol: Protocol) -> list[ByDirection]:
        key = torch.arange(len(images)) if protocol.relevance == "target" else keys[protocol.relevance]
        folds: list[ByDirection] = []
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
            folds.append({"c2i": ranks})
        return folds

    return _measured(protocols, ranked)


def _galleries(images: int, fold: Tensor | None, protocol: Protocol) -> list[Tensor]:
    """Rows of the images that are searched together: all of them, or those of each fold."""
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


def _measured(protocols: Sequence[Protocol], ranked: Callable[[Protocol], list[ByDirection]]) -> Measurement:
    """Metrics under all protocols, where `ranked` ranks each fold of a protocol."""
    rankings: dict[str, list[ByDirection]] = {}
    metrics: dict[str, dict[str, float]] = {}
    for protocol in protocols:
        if protocol.ranking not in rankings:
            rankings[protocol.ranking] = ranked(protocol)
        folds = rankings[protocol.ranking]
        values = {d: float(np.mean([score(fold[d], protocol) for fold in folds])) for d in protocol.directions}
        total = sum(values.values())
        metrics[protocol.id] = {**values, "mean": total / len(values)}
        if protocol.metric == "rsum":
            metrics[protocol.id]["sum"] = total
    return Measurement(metrics, dict(_named(rankings)))


class _Fold(NamedTuple):
    """Rows of what is ranked: images and texts that ask, and texts and images that answer them."""

    images: Rows
    answering_texts: Rows
    texts: Rows
    answering_images: Rows


def _folds(keys: Keys, protocol: Protocol, queries: tuple[Tensor, Tensor] | None) -> Iterator[_Fold]:
    """What is ranked together: everything, or the folds of a protocol one by one."""
    if protocol.folds is None:
        if queries is None:
            yield _Fold(*[slice(None)] * 4)
        else:
            yield _Fold(images=queries[0], answering_texts=~queries[1], texts=queries[1], answering_images=~queries[0])
        return
    if queries is not None:
        raise ValueError("folds are defined where every item is query and gallery")
    image_ids, text_ids = keys["instance"]
    if len(image_ids) < protocol.folds:
        raise UserError(
            f"{protocol.id} divides the images into {protocol.folds} folds, but there are {len(image_ids)}."
        )
    for rows in torch.arange(len(image_ids), device=image_ids.device).tensor_split(protocol.folds):
        texts = torch.isin(text_ids, image_ids[rows])
        yield _Fold(rows, texts, texts, rows)


def _ranked(images: Tensor, texts: Tensor, keys: Keys, fold: _Fold, protocol: Protocol) -> ByDirection:
    """Ranks of texts for images and of images for texts, relevant to each other by their keys."""
    image_keys, text_keys = keys[protocol.relevance]
    i2t = Relevance(image_keys[fold.images], text_keys[fold.answering_texts])
    t2i = Relevance(text_keys[fold.texts], image_keys[fold.answering_images])
    return {
        "i2t": rank(images[fold.images], texts[fold.answering_texts], i2t, protocol.distance),
        "t2i": rank(texts[fold.texts], images[fold.answering_images], t2i, protocol.distance),
    }


def _judged(images: Tensor, texts: Tensor, judgements: Judgements, protocol: Protocol) -> ByDirection:
    """Ranks of texts for the judged images and of images for the judged texts."""
    i2t, t2i = (lists.to(images.device) for lists in judgements)
    return {
        "i2t": rank(images[i2t.rows], texts, i2t, protocol.distance),
        "t2i": rank(texts[t2i.rows], images, t2i, protocol.distance),
    }


def _named(rankings: Mapping[str, list[ByDirection]]) -> Iterator[tuple[str, Ranks]]:
    for name, folds in rankings.items():
        for number, ranks in enumerate(folds, 1):
            fold = f"/{number}" if len(folds) > 1 else ""
            for direction, found in ranks.items():
                yield f"{direction}/{name}{fold}", found
