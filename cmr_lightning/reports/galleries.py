"""Galleries: queries with their first results, and those on which two methods differ most."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

import numpy as np

from cmr_lightning.evaluation.examples import Answered, Examples

_QUERIES = 2
"""Queries of each kind and direction."""

_DIFFERING = 3
"""Queries on which one method is ahead, for each of two methods."""

_PICTURE_BYTES = 7_000_000
"""All pictures of a report, so that it stays below 15 MB."""


@dataclass
class InlinedPictures:
    """The pictures of a report, each inlined once, as a class of its style sheet.

    Attributes:
        inlined: JPEG in base64 by the name of its class.
        left_out: How many more there would have been.
    """

    inlined: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    _bytes: int = 0

    def add(self, jpeg: bytes) -> str | None:
        """Name of the picture's class, None if there is no room left for it."""
        name = "p" + hashlib.sha256(jpeg).hexdigest()[:12]
        if name in self.inlined:
            return name
        content = base64.b64encode(jpeg).decode()
        if self._bytes + len(content) > _PICTURE_BYTES:
            self.left_out += 1
            return None
        self._bytes += len(content)
        self.inlined[name] = content
        return name


@dataclass(frozen=True)
class Shown:
    """One item: its picture, or what is known of it in words, and its classes."""

    picture: str | None
    text: str
    classes: str
    right: bool | None = None


@dataclass(frozen=True)
class Answer:
    """The results of one method for a query, and the query's score."""

    method: str
    score: float
    results: tuple[Shown, ...]


@dataclass(frozen=True)
class Entry:
    """A query of a gallery with the answers of one or two methods; of a composed query its source and text."""

    kind: str
    query: tuple[Shown, ...]
    answers: tuple[Answer, ...]
    target: Shown | None = None


def gallery(
    experiment: str, examples: Examples, higher_is_better: bool, pictures: InlinedPictures
) -> dict[str, list[Entry]]:
    """Best, median and worst queries of a run, by direction."""
    entries: dict[str, list[Entry]] = {}
    for direction, answered in examples.answered.items():
        order = np.argsort(-_goodness(answered, higher_is_better), kind="stable").tolist()
        number = min(_QUERIES, max(1, len(order) // 3))
        middle = max(0, (len(order) - number) // 2)
        chosen = {"best": order[:number], "median": order[middle : middle + number], "worst": order[-number:]}
        entries[direction] = [
            Entry(
                kind,
                _query(examples, direction, row, pictures),
                (_answer(experiment, examples, direction, row, pictures),),
                _target(examples, direction, row, pictures),
            )
            for kind, rows in chosen.items()
            for row in rows
        ]
    return entries


def differing(
    one: tuple[str, Examples], other: tuple[str, Examples], higher_is_better: bool, pictures: InlinedPictures
) -> dict[str, list[Entry]]:
    """Queries on which one method is furthest ahead of the other, then the other way round, by direction.

    Args:
        one: Name and examples of a run.
        other: The same of another run on the same items.
        higher_is_better: Whether a larger score is better.
        pictures: Where pictures go.
    """
    entries: dict[str, list[Entry]] = {}
    for direction, mine in one[1].answered.items():
        theirs = other[1].answered[direction]
        if not np.array_equal(mine.query, theirs.query):
            continue
        ahead = _goodness(mine, higher_is_better) - _goodness(theirs, higher_is_better)
        order = np.argsort(-ahead, kind="stable").tolist()
        chosen = [(one[0], row) for row in order[:_DIFFERING] if ahead[row] > 0]
        chosen += [(other[0], row) for row in reversed(order[-_DIFFERING:]) if ahead[row] < 0]
        entries[direction] = [
            Entry(
                f"{leader} ahead",
                _query(one[1], direction, row, pictures),
                tuple(_answer(name, examples, direction, row, pictures) for name, examples in (one, other)),
                _target(one[1], direction, row, pictures),
            )
            for leader, row in chosen
        ]
    return entries


def _goodness(answered: Answered, higher_is_better: bool) -> np.ndarray:
    """Scores, larger ones better; a query that the metric does not count is as bad as can be."""
    signed = answered.score.astype(np.float64) * (1 if higher_is_better else -1)
    lowest = np.nanmin(signed) if np.isfinite(signed).any() else 0.0
    return np.where(np.isnan(signed), lowest, signed)


def _query(examples: Examples, direction: str, row: int, pictures: InlinedPictures) -> tuple[Shown, ...]:
    item = int(examples.answered[direction].query[row])
    if direction == "c2i":
        text = Shown(None, examples.captions[item] or f"text {item}", "")
        return _tile(examples, "image", int(examples.owner[item]), None, pictures), text
    return (_tile(examples, "image" if direction == "i2t" else "text", item, None, pictures),)


def _target(examples: Examples, direction: str, row: int, pictures: InlinedPictures) -> Shown | None:
    target = examples.answered[direction].target
    return None if target is None else _tile(examples, "image", int(target[row]), None, pictures)


def _answer(method: str, examples: Examples, direction: str, row: int, pictures: InlinedPictures) -> Answer:
    answered = examples.answered[direction]
    modality = "text" if direction == "i2t" else "image"
    found = zip(answered.found[row].tolist(), answered.right[row].tolist(), strict=True)
    tiles = tuple(_tile(examples, modality, item, right, pictures) for item, right in found)
    return Answer(method, float(answered.score[row]), tiles)


def _tile(examples: Examples, modality: str, item: int, right: bool | None, pictures: InlinedPictures) -> Shown:
    image = item if modality == "image" else int(examples.owner[item])
    classes = ", ".join(examples.classes[index] for index in examples.classes_of(image))
    if modality == "text":
        return Shown(None, examples.captions[item] or f"text {item}", classes, right)
    jpeg = examples.pictures.get(item)
    return Shown(pictures.add(jpeg) if jpeg is not None else None, examples.names[item], classes, right)
