"""Galleries: queries with their first results, and the queries on which two methods differ most."""

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
"""Limit of all pictures of a report together, which keeps it below 15 MB."""

Run = tuple[str, Examples]
"""Name of an experiment, and the examples of one of its runs."""


@dataclass
class InlinedPictures:
    """The pictures of a report, each inlined once, as a class of its style sheet.

    Attributes:
        inlined: JPEG in base64 by the name of its class.
        left_out: Number of pictures that found no room.
    """

    inlined: dict[str, str] = field(default_factory=dict)
    left_out: int = 0
    _bytes: int = 0

    def add(self, jpeg: bytes) -> str | None:
        """Return the name of the picture's class, None if there is no room left for it."""
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
class Item:
    """One image or text: its picture, or a description in words, and its classes."""

    picture: str | None
    text: str
    classes: str
    right: bool | None = None


@dataclass(frozen=True)
class Answer:
    """The results of one method for a query, and the query's score."""

    method: str
    score: float
    results: tuple[Item, ...]


@dataclass(frozen=True)
class Entry:
    """A query of a gallery with the answers of one or two methods; of a composed query its source and text."""

    kind: str
    query: tuple[Item, ...]
    answers: tuple[Answer, ...]
    target: Item | None = None


def gallery(run: Run, higher_is_better: bool, pictures: InlinedPictures) -> dict[str, list[Entry]]:
    """Choose the best, median and worst queries of a run, by direction."""
    entries: dict[str, list[Entry]] = {}
    for direction, answered in run[1].answered.items():
        order = np.argsort(-_goodness(answered, higher_is_better), kind="stable").tolist()
        number = min(_QUERIES, max(1, len(order) // 3))
        middle = max(0, (len(order) - number) // 2)
        chosen = {"best": order[:number], "median": order[middle : middle + number], "worst": order[-number:]}
        entries[direction] = [
            _entry(kind, direction, row, pictures, run) for kind, rows in chosen.items() for row in rows
        ]
    return entries


def differing(one: Run, other: Run, higher_is_better: bool, pictures: InlinedPictures) -> dict[str, list[Entry]]:
    """Choose the queries on which each of two methods with the same items is furthest ahead, by direction."""
    entries: dict[str, list[Entry]] = {}
    for direction, mine in one[1].answered.items():
        theirs = other[1].answered.get(direction)
        if theirs is None or not np.array_equal(mine.query, theirs.query):
            continue
        ahead = _goodness(mine, higher_is_better) - _goodness(theirs, higher_is_better)
        order = np.argsort(-ahead, kind="stable").tolist()
        chosen = [(one[0], row) for row in order[:_DIFFERING] if ahead[row] > 0]
        chosen += [(other[0], row) for row in reversed(order[-_DIFFERING:]) if ahead[row] < 0]
        entries[direction] = [_entry(f"{leader} ahead", direction, row, pictures, one, other) for leader, row in chosen]
    return entries


def _goodness(answered: Answered, higher_is_better: bool) -> np.ndarray:
    """Sign the scores so that larger ones are better; a query that the metric drops is as bad as the worst."""
    signed = answered.score.astype(np.float64) * (1 if higher_is_better else -1)
    lowest = np.nanmin(signed) if np.isfinite(signed).any() else 0.0
    return np.where(np.isnan(signed), lowest, signed)


def _entry(kind: str, direction: str, row: int, pictures: InlinedPictures, *runs: Run) -> Entry:
    """Show a query of the first run, and what each run found."""
    examples = runs[0][1]
    answered = examples.answered[direction]
    item = int(answered.query[row])
    query: tuple[Item, ...]
    if direction == "c2i":
        source = _item(examples, "image", int(examples.owner[item]), None, pictures)
        query = (source, Item(None, examples.captions[item] or f"text {item}", ""))
    else:
        query = (_item(examples, "image" if direction == "i2t" else "text", item, None, pictures),)
    answers = tuple(_answer(run, direction, row, pictures) for run in runs)
    target = None if answered.target is None else _item(examples, "image", int(answered.target[row]), None, pictures)
    return Entry(kind, query, answers, target)


def _answer(run: Run, direction: str, row: int, pictures: InlinedPictures) -> Answer:
    method, examples = run
    answered = examples.answered[direction]
    modality = "text" if direction == "i2t" else "image"
    found = zip(answered.found[row].tolist(), answered.right[row].tolist(), strict=True)
    items = tuple(_item(examples, modality, item, right, pictures) for item, right in found)
    return Answer(method, float(answered.score[row]), items)


def _item(examples: Examples, modality: str, item: int, right: bool | None, pictures: InlinedPictures) -> Item:
    image = item if modality == "image" else int(examples.owner[item])
    classes = ", ".join(examples.classes[index] for index in examples.classes_of(image))
    if modality == "text":
        return Item(None, examples.captions[item] or f"text {item}", classes, right)
    jpeg = examples.pictures.get(item)
    return Item(pictures.add(jpeg) if jpeg is not None else None, examples.names[item], classes, right)
