"""Examples of a run, which a report shows beside its numbers: points of the common space, queries with results."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.errors import UserError
from cmr_lightning.files.whole_file import whole_file

RESULTS = 5
"""Results kept of each query."""


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
        arrays: dict[str, Any] = {
            "label": self.label,
            "owner": self.owner,
            "words": np.frombuffer(json.dumps({"directions": list(self.answered), **words}).encode(), dtype=np.uint8),
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
            with np.load(path, allow_pickle=False) as archive:
                return cls._of_arrays(dict(archive))
        except FileNotFoundError:
            raise UserError(f"There is no file of examples {path}; `test` writes one beside the record.") from None
        except (EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            raise UserError(f"{path} is not a file of examples; run `test` again to replace it.") from error

    @classmethod
    def _of_arrays(cls, arrays: dict[str, Any]) -> Examples:
        words = json.loads(arrays["words"].tobytes())
        *jpegs, _ = np.split(arrays["pictures"], np.cumsum(arrays["picture_sizes"]))
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


def _answered(arrays: dict[str, Any], direction: str) -> Answered:
    query, score, found, right = (arrays[f"{direction}/{key}"] for key in ("query", "score", "found", "right"))
    return Answered(query, score, found, right, arrays.get(f"{direction}/target"))
