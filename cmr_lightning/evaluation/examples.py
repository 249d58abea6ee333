"""Examples of a run, which a report shows beside its numbers: points of the common space, queries with results."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from cmr_lightning.errors import UserError
from cmr_lightning.files.json_file import parse_json
from cmr_lightning.files.npz_file import DAMAGES, read_arrays
from cmr_lightning.files.whole_file import whole_file

_MOST_BYTES = 2**28  # unpacked; what is written stays below a hundredth of it, but for labels and owners

RESULTS = 5
"""Results kept of each query."""


class _Words(TypedDict):
    directions: list[Literal["i2t", "t2i", "c2i"]]
    classes: list[str]
    names: dict[str, str]
    captions: dict[str, str]


@dataclass(frozen=True)
class Answered:
    """Some queries of one direction with their first results; items are rows of the test part.

    Attributes:
        query: Item that asks, `(Q,)`.
        score: The main metric of the query, `(Q,)`.
        found: Items that answer, best first, `(Q, RESULTS)`, or fewer columns where the gallery has fewer items.
        right: True where these are relevant, of the same shape.
        target: Item that a composed query asks for, `(Q,)`; None for other queries.
    """

    query: NDArray[np.int32]
    score: NDArray[np.float32]
    found: NDArray[np.int32]
    right: NDArray[np.bool_]
    target: NDArray[np.int32] | None = None


@dataclass(frozen=True)
class Examples:
    """Examples that `test` keeps of one run.

    Attributes:
        classes: Names of the classes.
        label: Labels of the M images, class indices `(M,)` or multi-hot `(M, C)`.
        owner: Image of each of the P texts, or source of each composed query, `(P,)`.
        asking: For `i2t` the images, for `t2i` and `c2i` the texts that are queries, in the order of the ranks.
        points: For `image` and `text` the first principal components of some embeddings, `(n, 32)` or fewer columns.
        point_rows: Items to which these belong, `(n,)` each.
        answered: Some queries of each direction with their results.
        names: Names, as people know them, of the images that occur in `answered`.
        captions: The texts there; empty strings where the data set has none.
        pictures: Small JPEGs of the images there, if the data set has pictures.
    """

    classes: tuple[str, ...]
    label: NDArray[Any]
    owner: NDArray[np.int32]
    asking: dict[str, NDArray[np.int32]]
    points: dict[str, NDArray[np.float16]]
    point_rows: dict[str, NDArray[np.int32]]
    answered: dict[str, Answered]
    names: dict[int, str]
    captions: dict[int, str]
    pictures: dict[int, bytes]

    def classes_of(self, image: int) -> list[int]:
        """Return the classes of an image."""
        label = self.label[image]
        return [int(label)] if self.label.ndim == 1 else np.flatnonzero(label).tolist()

    def write(self, path: Path) -> None:
        """Write one compressed NumPy archive; an interrupted write leaves no broken file behind."""
        words = {key: getattr(self, key) for key in ("classes", "names", "captions")}
        jpegs = self.pictures.values()
        written = json.dumps({"directions": list(self.answered), **words}, ensure_ascii=False)
        arrays: dict[str, Any] = {
            "label": self.label,
            "owner": self.owner,
            "words": np.frombuffer(written.encode(errors="replace"), dtype=np.uint8),  # halves of characters become ?
            "picture_rows": np.array(list(self.pictures), dtype=np.int32),
            "picture_sizes": np.array([len(jpeg) for jpeg in jpegs], dtype=np.int64),
            "pictures": np.frombuffer(b"".join(jpegs), dtype=np.uint8),
        }
        for direction, answered in self.answered.items():
            arrays[f"{direction}/asking"] = self.asking[direction]
            arrays |= {f"{direction}/{key}": values for key, values in vars(answered).items() if values is not None}
        for modality, points in self.points.items():
            arrays |= {f"{modality}/points": points, f"{modality}/point_rows": self.point_rows[modality]}
        with whole_file(path) as file:
            np.savez_compressed(file, **arrays)

    @classmethod
    def read(cls, path: Path) -> Examples:
        """Read a file of examples.

        Raises:
            UserError: The file is missing, or is no file of examples.
        """
        try:
            arrays = read_arrays(path, _MOST_BYTES)
            words = parse_json(arrays["words"].tobytes(), _Words, f"{path}", "run `test` again to replace it")
            examples = cls._of_arrays(arrays, words)
            examples.check()
            return examples
        except FileNotFoundError:
            raise UserError(f"There is no file of examples {path}; `test` writes one beside the record.") from None
        except DAMAGES as error:
            raise UserError(f"{path} is not a file of examples ({error}); run `test` again to replace it.") from error

    def check(self) -> None:
        """Check that all arrays fit together, and point at items that are there.

        Raises:
            ValueError: If they do not.
        """
        images, texts = len(self.label), len(self.owner)
        if self.label.ndim == 1:
            _check_rows("labels", self.label, len(self.classes))
        elif self.label.shape != (images, len(self.classes)) or self.label.dtype != np.bool_:
            raise ValueError(f"labels of shape {self.label.shape} for {len(self.classes)} classes")
        _check_rows("owners", self.owner, images)
        for modality, size in (("image", images), ("text", texts)):
            points, rows = self.points[modality], self.point_rows[modality]
            _check_rows("points", rows, size)
            if points.ndim != 2 or points.dtype.kind != "f" or not np.isfinite(points).all():
                raise ValueError(f"points of {modality}s are no finite numbers")
            _check_lengths("points", points, rows)
        for direction, found in self.answered.items():
            asking, answering = (images, texts) if direction == "i2t" else (texts, images)
            target = found.query if found.target is None else found.target
            _check_rows("queries", self.asking[direction], asking)
            _check_rows("queries", found.query, asking)
            _check_rows("results", found.found.ravel(), answering)
            _check_rows("targets", target, asking if found.target is None else images)
            _check_lengths("queries", found.query, found.score, found.found, target)
            if found.found.ndim != 2 or found.right.shape != found.found.shape or found.score.ndim != 1:
                raise ValueError(f"results of {direction} have other shapes than they should")
            if found.right.dtype != np.bool_ or found.score.dtype.kind != "f":
                raise ValueError(f"results of {direction} are of other types than they should be")
            self._check_words(direction, found)

    def _check_words(self, direction: str, found: Answered) -> None:
        asked, answers = set(found.query.tolist()), set(found.found.ravel().tolist())
        images, texts = (asked, answers) if direction == "i2t" else (answers, asked)
        if found.target is not None:
            images |= {*self.owner[found.query].tolist(), *found.target.tolist()}
        if images - self.names.keys() or texts - self.captions.keys():
            raise ValueError(f"queries or results of {direction} have no name or caption")

    @classmethod
    def _of_arrays(cls, arrays: dict[str, Any], words: _Words) -> Examples:
        *jpegs, rest = np.split(arrays["pictures"], np.cumsum(arrays["picture_sizes"]))
        if len(rest):
            raise ValueError("pictures have other sizes than they should")
        return cls(
            classes=tuple(words["classes"]),
            label=arrays["label"],
            owner=arrays["owner"],
            asking={direction: arrays[f"{direction}/asking"] for direction in words["directions"]},
            points={modality: arrays[f"{modality}/points"] for modality in ("image", "text")},
            point_rows={modality: arrays[f"{modality}/point_rows"] for modality in ("image", "text")},
            answered={direction: _answered(arrays, direction) for direction in words["directions"]},
            names={int(row): name for row, name in words["names"].items()},
            captions={int(row): caption for row, caption in words["captions"].items()},
            pictures={row: jpeg.tobytes() for row, jpeg in zip(arrays["picture_rows"].tolist(), jpegs, strict=True)},
        )


def _check_rows(what: str, rows: NDArray[Any], size: int) -> None:
    """Check that an array holds numbers of items, `(n,)`."""
    if rows.ndim != 1 or rows.dtype.kind not in "iu":
        raise ValueError(f"{what} are no list of whole numbers")
    if len(rows) and not (rows.min() >= 0 and rows.max() < size):
        raise ValueError(f"{what} point at items that are not there")


def _check_lengths(what: str, *arrays: NDArray[Any]) -> None:
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"{what} have arrays of several lengths")


def _answered(arrays: dict[str, Any], direction: str) -> Answered:
    query, score, found, right = (arrays[f"{direction}/{key}"] for key in ("query", "score", "found", "right"))
    return Answered(query, score, found, right, arrays.get(f"{direction}/target"))
