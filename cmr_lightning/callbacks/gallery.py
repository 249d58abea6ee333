"""A picture of what was retrieved: queries with their top results, the right ones marked."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cmr_lightning.callbacks.retrieved import SIDES, asking, first_results
from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.runs.run import Run

_RIGHT, _WRONG, _QUERY, _TARGET = "#2e8b57", "#c0504d", "#4a4a4a", "#3a6ea5"


@dataclass(frozen=True)
class Tile:
    """One item of a gallery: a picture, or where there is none a text."""

    picture: np.ndarray | None
    text: str
    colour: str
    heading: str = ""


class RetrievalGallery(pl.Callback):
    """Draws `gallery.png` after `test`: a few queries in each direction with their top results.

    The queries are spread evenly over the test part, not chosen by their result. A composed query is its source with
    the text beside it, and behind its results stands the picture that it asks for.

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
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            title = f"{type(pl_module).__name__} on {type(data).__name__}"
            draw_gallery(self._rows(data, pl_module), title, self.run.gallery)

    def _rows(self, data: Any, model: EmbeddingModel) -> list[list[Tile]]:
        assert model.embedded is not None
        part, main = data.part("test"), data.protocols[0]
        rows = []
        for direction in main.directions:
            asked, answered = SIDES[direction]
            items = asking(part, direction)
            chosen = items[torch.linspace(0, len(items) - 1, self.queries + 2).round().long()[1:-1]]
            found, right = first_results(part, model.embedded, main, direction, chosen, self.results)
            for query, results, marks in zip(chosen.tolist(), found.tolist(), right.tolist(), strict=True):
                tiles = [
                    _tile(data, part, answered, item, _RIGHT if mark else _WRONG, str(place))
                    for place, (item, mark) in enumerate(zip(results, marks, strict=True), 1)
                ]
                if direction == "c2i":
                    source, target = int(part.owner[query]), int(part.target[query])
                    rows.append(
                        [
                            _tile(data, part, "image", source, _QUERY, "source"),
                            Tile(None, part.captions[query], _QUERY, "what to change"),
                            *tiles,
                            _tile(data, part, "image", target, _TARGET, "asked for"),
                        ]
                    )
                else:
                    rows.append([_tile(data, part, asked, query, _QUERY, "query"), *tiles])
        return rows


def _tile(data: Any, part: Any, modality: str, index: int, colour: str, heading: str) -> Tile:
    image = index if modality == "image" else int(part.owner[index])
    label = part.label[image]
    present = [int(label)] if label.ndim == 0 else label.nonzero().flatten().tolist()
    classes = ", ".join(data.classes[c] for c in present)
    picture = data.picture("test", image) if modality == "image" else None
    if picture is not None:
        return Tile(picture, classes, colour, heading)
    known = part.captions[index] if modality == "text" else ""
    return Tile(None, known or f"{classes} ({modality} {part.image_names[image][:10]})", colour, heading)


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
        for tile, axis in zip(row, row_axes, strict=False):
            _draw_tile(axis, tile)
    figure.savefig(path)


def _draw_tile(axis: Axes, tile: Tile) -> None:
    axis.axis("on")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_color(tile.colour)
        spine.set_linewidth(3)
    if tile.picture is not None:
        axis.imshow(tile.picture, interpolation="nearest")
        axis.set_xlabel(textwrap.fill(tile.text, 26, max_lines=2, placeholder=" …"), fontsize=7)
    else:
        axis.set_xlim(0, 1)
        axis.set_ylim(0, 1)
        axis.set_box_aspect(1)
        wrapped = textwrap.fill(tile.text, 22, max_lines=8, placeholder=" …")
        axis.text(0.5, 0.5, wrapped, fontsize=7, ha="center", va="center", parse_math=False)
    axis.set_title(tile.heading, fontsize=7, color=tile.colour, pad=3)
