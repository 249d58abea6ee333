"""A figure of test queries with their top results, the relevant ones marked."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.text import Text

from cmr_lightning.callbacks.fonts import SUBSTITUTE, fonts_for
from cmr_lightning.callbacks.retrieved import SIDES, evaluated, first_results
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.files.whole_file import whole_file
from cmr_lightning.runs.run import Run

_WIDE = Console(width=1000)

_RIGHT, _WRONG, _QUERY, _TARGET = "#2e8b57", "#c0504d", "#4a4a4a", "#3a6ea5"


@dataclass(frozen=True)
class Tile:
    """One item of a gallery: a picture, or a text where there is no picture."""

    picture: np.ndarray | None
    text: str
    colour: str
    heading: str = ""


class RetrievalGallery(pl.Callback):
    """Draws `gallery.png` after `test`: a few queries in each direction with their top results.

    The queries are spread evenly over the test part, not chosen by their results. A composed query is its source with
    the text beside it, and its row ends with the image that it asks for.
    """

    def __init__(self, run: Run, queries: int = 4, results: int = 6) -> None:
        self.run = run
        self.queries = queries
        self.results = results

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw, on the first process, and say what could not be drawn: by now there is a record."""
        if not trainer.is_global_zero:
            return
        name = self.run.gallery.name
        try:
            missing = self._draw(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
        except Exception as error:  # whatever a picture, a text or a font may do to those who draw
            reason = str(error).strip().partition("\n")[0]
            print(f"Note: {name} could not be drawn ({type(error).__name__}: {reason}).")
            return
        if missing:
            print(
                f"Note: no font on this machine has {len(missing)} characters of the texts, such as "
                f"{min(missing)!r}, so {name} shows {SUBSTITUTE} for them; install one, such as Noto Sans of their "
                f"script, and test again."
            )

    def _draw(self, module: pl.LightningModule, data: Any) -> frozenset[str]:
        model, embedded, _ = evaluated(module)
        rows = [row for direction in data.protocols[0].directions for row in self._rows(data, embedded, direction)]
        return draw_gallery(rows, f"{type(model).__name__} on {type(data).__name__}", self.run.gallery)

    def _rows(self, data: Any, embedded: Embeddings, direction: str) -> Iterator[list[Tile]]:
        part, (asked, answered) = data.part("test"), SIDES[direction]
        items = part.asking(asked)
        chosen = items[torch.linspace(0, len(items) - 1, self.queries + 2).round().long()[1:-1]]
        found, right = first_results(part, embedded, data.protocols[0], direction, chosen, self.results)
        for query, results, marks in zip(chosen.tolist(), found.tolist(), right.tolist(), strict=True):
            tiles = [
                _tile(data, part, answered, item, _RIGHT if mark else _WRONG, str(place))
                for place, (item, mark) in enumerate(zip(results, marks, strict=True), 1)
            ]
            if direction == "c2i":
                source, target = int(part.owner[query]), int(part.target[query])
                start = _tile(data, part, "image", source, _QUERY, "source")
                change = Tile(None, part.captions[query], _QUERY, "what to change")
                yield [start, change, *tiles, _tile(data, part, "image", target, _TARGET, "asked for")]
            else:
                yield [_tile(data, part, asked, query, _QUERY, "query"), *tiles]


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


def draw_gallery(rows: list[list[Tile]], title: str, path: Path) -> frozenset[str]:
    """Draw a row of tiles for each query, the query first, save the figure as a PNG, and return what no font has.

    Characters that the usual font lacks are taken from other fonts of the machine.
    """
    fonts = fonts_for([title, *(tile.text for row in rows for tile in row)])
    shown = str.maketrans(dict.fromkeys(fonts.missing, SUBSTITUTE))
    with rc_context({"font.family": fonts.families, "text.parse_math": False}):  # a dollar is no formula
        readable = [[replace(tile, text=tile.text.translate(shown)) for tile in row] for row in rows]
        _draw(readable, title.translate(shown), path)
    return fonts.missing


def _draw(rows: list[list[Tile]], title: str, path: Path) -> None:
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(1.9 * columns, 1.75 * len(rows) + 0.6), dpi=110, layout="constrained")
    figure.suptitle(f"{title}: query, then results from the first rank on (green: relevant, red: not)", fontsize=11)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, row_axes in zip(rows, axes, strict=True):
        for axis, tile in zip_longest(row_axes, row):
            if tile is None:
                axis.axis("off")
            else:
                _draw_tile(axis, tile)
    with whole_file(path) as file:
        figure.savefig(file, format="png")


def _draw_tile(axis: Axes, tile: Tile) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set(color=tile.colour, linewidth=3)
    if tile.picture is not None:
        axis.imshow(tile.picture, interpolation="nearest")
        axis.set_xlabel(wrapped(tile.text, 26, 2), fontsize=7)
    else:
        axis.set(xlim=(0, 1), ylim=(0, 1), box_aspect=1)
        axis.text(0.5, 0.5, wrapped(tile.text, 22, 8), fontsize=7, ha="center", va="center")
    axis.set_title(tile.heading, fontsize=7, color=tile.colour, pad=3)


def wrapped(text: str, width: int, most: int) -> str:
    r"""Break a text into `most` lines at most, of `width` Latin letters or half as many Chinese ones, which are wider.

    Examples:
        >>> wrapped("a dog on a meadow", 9, 2), wrapped("草地上有一只狗", 9, 2), wrapped("one two three", 5, 2)
        ('a dog on\na meadow', '草地上有\n一只狗', 'one\ntwo …')
    """
    lines = [line.plain.rstrip() for line in Text(" ".join(text.split())).wrap(_WIDE, width)]
    return "\n".join([*lines[: most - 1], f"{lines[most - 1]} …"] if len(lines) > most else lines)
