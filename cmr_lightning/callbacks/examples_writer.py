"""The file of a test from which reports draw: points of the common space, and queries with their results."""

import io
import textwrap
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cmr_lightning.callbacks.retrieved import SIDES, evaluated, first_results
from cmr_lightning.embedding_model import Embeddings, Modality
from cmr_lightning.evaluation import Measurement, Protocol, per_query
from cmr_lightning.evaluation.examples import RESULTS, Answered, Examples
from cmr_lightning.runs.run import Run

_POINTS, _COMPONENTS = 300, 32
_QUERIES, _CAPTION = 200, 200
_SIDES = (96, 64, 48, 32)
_PICTURE_BYTES = 1_300_000  # with everything else a file then stays below 1.5 MB


class ExamplesWriter(pl.Callback):
    """Writes `examples.npz` after `test`, for what a report shows of a run beside its numbers.

    Points and queries are spread evenly over the test part, not chosen by their results.
    """

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write, on the first process."""
        if trainer.is_global_zero:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            _, embedded, measurement = evaluated(pl_module)
            examples_of(data, embedded, measurement).write(self.run.examples)


def examples_of(data: Any, embedded: Embeddings, measurement: Measurement) -> Examples:
    """Choose examples from an evaluation of the test part of a datamodule."""
    part, main = data.part("test"), data.protocols[0]
    images, texts = embedded.image.cpu(), embedded.text.cpu()
    answered, asking = {}, {}
    for direction in main.directions:
        rows = asking[direction] = part.asking(SIDES[direction][0])
        chosen = _spread(len(rows), _QUERIES)
        queries = rows[chosen]
        results = first_results(part, embedded, main, direction, queries, RESULTS)
        answered[direction] = Answered(
            queries.int().numpy(),
            _scores(measurement, direction, main)[chosen.numpy()],
            results.found.int().numpy(),
            results.right.numpy(),
            target=part.target[queries].int().numpy() if direction == "c2i" else None,
        )
    shown = _shown(answered, part)
    points = {"image": _spread(len(images), _POINTS), "text": _spread(len(texts), _POINTS)}
    pictured = shown["image"] if data.picture("test", 0) is not None else []
    return Examples(
        classes=tuple(data.classes),
        label=part.label.numpy().astype(np.int16 if part.label.ndim == 1 else np.bool_),
        owner=part.owner.int().numpy(),
        asking={direction: rows.int().numpy() for direction, rows in asking.items()},
        points=principal_components(images[points["image"]], texts[points["text"]], main.distance),
        point_rows={modality: chosen.int().numpy() for modality, chosen in points.items()},
        answered=answered,
        names={row: part.image_names[row] for row in shown["image"]},
        captions={row: textwrap.shorten(part.captions[row], _CAPTION, placeholder=" …") for row in shown["text"]},
        pictures=thumbnails({row: data.picture("test", row) for row in pictured}),
    )


def _shown(answered: dict[str, Answered], part: Any) -> dict[Modality, list[int]]:
    """List the images and texts that occur as a query or a result, as the source of a query or as its target."""
    shown: dict[Modality, list[NDArray[Any]]] = {"image": [], "text": []}
    for direction, found in answered.items():
        asked, answering = SIDES[direction]
        shown[asked].append(found.query)
        shown[answering].append(found.found.ravel())
        if found.target is not None:
            shown["image"] += [part.owner.numpy()[found.query], found.target]
    return {modality: np.unique(np.concatenate(rows)).tolist() for modality, rows in shown.items()}


def principal_components(images: Tensor, texts: Tensor, distance: str) -> dict[str, NDArray[np.float16]]:
    """Project images `(n, D)` and texts `(m, D)` on their common first principal components, scaled to [-1, 1].

    Under the cosine, items are scaled to length 1 before.

    Examples:
        >>> points = principal_components(torch.tensor([[3.0, 1.0]]), torch.tensor([[-1.0, 1.0]]), "l2")
        >>> {modality: abs(rows).tolist() for modality, rows in points.items()}
        {'image': [[1.0, 0.0]], 'text': [[1.0, 0.0]]}
    """
    points = torch.cat([images, texts]).float()
    if distance == "cos":
        points = torch.nn.functional.normalize(points, dim=1)
    left, values, _ = torch.linalg.svd(points - points.mean(0), full_matrices=False)
    reduced = (left * values)[:, :_COMPONENTS]
    reduced = (reduced / reduced.abs().max().clamp(min=torch.finfo(torch.float32).tiny)).numpy().astype(np.float16)
    return {"image": reduced[: len(images)], "text": reduced[len(images) :]}


def thumbnails(pictures: dict[int, np.ndarray], limit: int = _PICTURE_BYTES) -> dict[int, bytes]:
    """Shrink pictures uint8 `(H, W, 3)` to JPEGs of at most 96 pixels a side, or fewer to stay within `limit` bytes.

    Examples:
        >>> jpegs = thumbnails({7: np.zeros((200, 100, 3), dtype=np.uint8)})
        >>> Image.open(io.BytesIO(jpegs[7])).size
        (48, 96)
    """
    images = {row: Image.fromarray(picture) for row, picture in pictures.items()}
    for side in _SIDES:
        jpegs = {row: _jpeg(image, side) for row, image in images.items()}
        if sum(map(len, jpegs.values())) <= limit:
            break
    return jpegs


def _jpeg(image: Image.Image, side: int) -> bytes:
    """Shrink an image in place, and compress it."""
    file = io.BytesIO()
    image.thumbnail((side, side))
    image.save(file, "JPEG", quality=70, optimize=True)
    return file.getvalue()


def _scores(measurement: Measurement, direction: str, main: Protocol) -> NDArray[np.float32]:
    """Return the main metric of every query `(Q,)`, fold after fold; recall and rsum in percent."""
    folds = [per_query(measurement.ranks[name], main) for name in main.rankings(direction)]
    return main.scale * np.concatenate(folds).astype(np.float32)


def _spread(size: int, number: int) -> Tensor:
    """Choose at most `number` of `size` rows, evenly spread."""
    return torch.linspace(0, size - 1, min(size, number)).round().long()
