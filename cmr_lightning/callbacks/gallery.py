"""A picture of what was retrieved: queries with their top results, the right ones marked."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.evaluation import Relevance, top
from cmr_lightning.runs import Run

_RIGHT, _WRONG, _QUERY = "#2e8b57", "#c0504d", "#4a4a4a"


@dataclass(frozen=True)
class Tile:
    """One item of a gallery: a picture, or where there is none a text."""

    picture: np.ndarray | None
    text: str
    colour: str


class RetrievalGallery(pl.Callback):
    """Draws `gallery.png` after `test`: a few queries in each direction with their top results.

    The queries are spread evenly over the test part, not chosen by their result.

    Args:
        run: The run.
        queries: Queries in each direction.
        results: Results per query.
    """

    def __init__(self, run: Run, queries: int = 4, results: int = 6) -> None:
        self.run = run
        self.queries = queries
        self.results = results

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, on the first process."""
        if trainer.is_global_zero and isinstance(pl_module, EmbeddingModel):
            rows = self._rows(trainer.datamodule, pl_module)  # type: ignore[attr-defined]
            draw_gallery(rows, f"{type(pl_module).__name__} on {type(trainer.datamodule).__name__}", self.run.gallery)  # type: ignore[attr-defined]

    def _rows(self, data: Any, model: EmbeddingModel) -> list[list[Tile]]:
        assert model.embedded is not None
        main = data.protocols[0]
        part = data.part("test")
        keys = {"label": (part.label, part.label[part.owner]), "instance": (None, part.owner)}[main.relevance]
        image_keys = keys[0] if keys[0] is not None else part.owner.new_tensor(range(part.num_images))
        images, texts = model.embedded
        rows = []
        for direction in ("i2t", "t2i"):
            queries, gallery = (images, texts) if direction == "i2t" else (texts, images)
            query_keys, gallery_keys = (image_keys, keys[1]) if direction == "i2t" else (keys[1], image_keys)
            chosen = np.linspace(0, len(queries) - 1, self.queries + 2).round().astype(int)[1:-1]
            found = top(queries[chosen], gallery, main.distance, min(self.results, len(gallery))).cpu().numpy()
            right = Relevance(query_keys[chosen], gallery_keys).block(slice(None)).cpu().numpy()
            ask, answer = ("image", "text") if direction == "i2t" else ("text", "image")
            for row, query in enumerate(chosen):
                tiles = [_tile(data, part, ask, int(query), _QUERY)]
                tiles += [
                    _tile(data, part, answer, i, _RIGHT if right[row, i] else _WRONG) for i in found[row].tolist()
                ]
                rows.append(tiles)
        return rows


def _tile(data: Any, part: Any, modality: str, index: int, colour: str) -> Tile:
    image = index if modality == "image" else int(part.owner[index])
    label = part.label[image]
    present = [int(label)] if label.ndim == 0 else label.nonzero().flatten().tolist()
    classes = ", ".join(data.classes[c] for c in present)
    picture = data.picture("test", image) if modality == "image" else None
    if picture is not None:
        return Tile(picture, classes, colour)
    known = part.captions[index] if modality == "text" else ""
    return Tile(None, known or f"{classes} ({modality} {part.image_names[image][:10]})", colour)


def draw_gallery(rows: list[list[Tile]], title: str, path: Path) -> None:
    """Draw rows of tiles, the query first, and save them as a PNG.

    Args:
        rows: Tiles of each query.
        title: What stands above.
        path: Where the PNG goes.
    """
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.9 * columns, 1.75 * len(rows) + 0.6), dpi=110, layout="constrained")
    figure.suptitle(f"{title}: query, then results from the first rank on (green: relevant, red: not)", fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, row_axes in zip(rows, axes, strict=True):
        for axis in row_axes:
            axis.axis("off")
        for position, (tile, axis) in enumerate(zip(row, row_axes, strict=False)):
            _draw_tile(axis, tile, "query" if position == 0 else str(position))
    figure.savefig(path)


def _draw_tile(axis: Axes, tile: Tile, heading: str) -> None:
    axis.axis("on")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(tile.colour)
        spine.set_linewidth(3)
    if tile.picture is not None:
        axis.imshow(tile.picture, interpolation="nearest")
        axis.set_xlabel(tile.text, fontsize=7)
    else:
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_box_aspect(1)
        wrapped = textwrap.fill(tile.text, 22, max_lines=8, placeholder=" …")
        axis.text(0.5, 0.5, wrapped, fontsize=7, ha="center", va="center", parse_math=False)
    axis.set_title(heading, fontsize=7, color=tile.colour, pad=3)
