"""What `test` leaves behind to be looked at: points of the common space, and queries with their results."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cmr_lightning.callbacks.retrieved import SIDES, asking, first_results
from cmr_lightning.embedding_model import EmbeddingModel, Embeddings, Modality
from cmr_lightning.evaluation import Measurement, Protocol, per_query
from cmr_lightning.evaluation.examples import RESULTS, Answered, Examples
from cmr_lightning.runs.run import Run

_POINTS = 300
_COMPONENTS = 32
_QUERIES = 200
_CAPTION = 200
_SIDES = (96, 64, 48, 32)
_PICTURE_BYTES = 1_300_000
"""With everything else a file then stays below 1.5 MB."""


class ExamplesWriter(pl.Callback):
    """Writes `examples.npz` after `test`: what a report shows of the run beside its numbers.

    Points and queries are spread evenly over the test part, not chosen by their result.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write, on the first process."""
        if trainer.is_global_zero and isinstance(pl_module, EmbeddingModel):
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            assert pl_module.embedded is not None and pl_module.measurement is not None
            examples_of(data, pl_module.embedded, pl_module.measurement).write(self.run.examples)


def examples_of(data: Any, embedded: Embeddings, measurement: Measurement) -> Examples:
    """Choose what is kept of an evaluation of the test part.

    Args:
        data: The datamodule.
        embedded: All images and texts of the test part.
        measurement: What was measured.
    """
    part, main = data.part("test"), data.protocols[0]
    images, texts = embedded.image.cpu(), embedded.text.cpu()
    answered = {}
    for direction in main.directions:
        rows = asking(part, direction)
        chosen = _spread(len(rows), _QUERIES)
        results = first_results(part, embedded, main, direction, rows[chosen], RESULTS)
        answered[direction] = Answered(
            _integers(rows[chosen]),
            _scores(measurement, direction, main)[chosen.numpy()],
            _integers(results.found),
            results.right.numpy(),
            target=_integers(part.target[rows[chosen]]) if direction == "c2i" else None,
        )
    shown = _shown(answered, part)
    points = {"image": _spread(len(images), _POINTS), "text": _spread(len(texts), _POINTS)}
    pictured = shown["image"] if data.picture("test", 0) is not None else []
    return Examples(
        classes=tuple(data.classes),
        label=part.label.numpy().astype(np.int16 if part.label.ndim == 1 else np.bool_),
        owner=_integers(part.owner),
        asking={direction: _integers(asking(part, direction)) for direction in answered},
        points=principal_components(images[points["image"]], texts[points["text"]], main.distance),
        point_rows={modality: _integers(chosen) for modality, chosen in points.items()},
        answered=answered,
        names={row: part.image_names[row] for row in shown["image"]},
        captions={row: _short(part.captions[row]) for row in shown["text"]},
        pictures=thumbnails({row: data.picture("test", row) for row in pictured}),
    )


def _shown(answered: dict[str, Answered], part: Any) -> dict[Modality, list[int]]:
    """Images and texts that occur as a query or a result, as the source of a query or as its target."""
    shown: dict[Modality, list[NDArray[Any]]] = {"image": [], "text": []}
    for direction, found in answered.items():
        asked, answering = SIDES[direction]
        shown[asked].append(found.query)
        shown[answering].append(found.found.ravel())
        if found.target is not None:
            shown["image"] += [part.owner.numpy()[found.query], found.target]
    return {modality: np.unique(np.concatenate(rows)).tolist() for modality, rows in shown.items() if rows}


def principal_components(images: Tensor, texts: Tensor, distance: str) -> dict[str, NDArray[np.float16]]:
    """Images `(n, D)` and texts `(m, D)` in their common first principal components, the largest number being 1.

    Under the cosine, items are scaled to length 1 before.
    """
    points = torch.cat([images, texts]).float()
    if distance == "cos":
        points = torch.nn.functional.normalize(points, dim=1)
    left, values, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    reduced = (left * values)[:, :_COMPONENTS]
    reduced = (reduced / reduced.abs().max().clamp(min=torch.finfo(torch.float32).tiny)).numpy().astype(np.float16)
    return {"image": reduced[: len(images)], "text": reduced[len(images) :]}


def thumbnails(pictures: dict[int, np.ndarray], limit: int = _PICTURE_BYTES) -> dict[int, bytes]:
    """Small JPEGs of pictures uint8 `(H, W, 3)`, as large as they can be in `limit` bytes, up to 96 pixels a side."""
    small = {row: _shrunk(Image.fromarray(picture), _SIDES[0]) for row, picture in pictures.items()}
    for side in _SIDES:
        jpegs = {row: _jpeg(_shrunk(picture, side)) for row, picture in small.items()}
        if sum(map(len, jpegs.values())) <= limit:
            break
    return jpegs


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    copy = picture.copy()
    copy.thumbnail((side, side))
    return copy


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=70, optimize=True)
    return file.getvalue()


def _scores(measurement: Measurement, direction: str, main: Protocol) -> NDArray[np.float32]:
    """The main metric of every query, recall and rsum in percent, one fold behind the other, `(Q,)`."""
    folds = [per_query(measurement.ranks[name], main) for name in main.rankings(direction)]
    return main.scale * np.concatenate(folds).astype(np.float32)


def _spread(size: int, number: int) -> Tensor:
    """At most `number` of `size` rows, evenly spread."""
    return torch.linspace(0, size - 1, min(size, number)).round().long()


def _short(caption: str) -> str:
    return caption if len(caption) <= _CAPTION else caption[:_CAPTION].rstrip() + " …"


def _integers(rows: Tensor) -> NDArray[np.int32]:
    return rows.numpy().astype(np.int32)
