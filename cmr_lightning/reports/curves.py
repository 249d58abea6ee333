"""Curves of experiments: training by epoch and by update from `metrics.csv`, precision and recall from the ranks."""

import csv
import io
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import mean

import numpy as np

from cmr_lightning.errors import UserError
from cmr_lightning.reports.board import Board, MeasuredRun

GAME = {
    "game/gradient_share": "Alignment's share of the gradient",
    "game/discriminator_accuracy": "Discriminator's accuracy on held-out items",
    "game/discriminator_entropy": "Discriminator's entropy (nats, at most 0.693)",
    "game/probe_accuracy": "Accuracy of a fresh probe (0.5: modalities lie alike)",
    "game/modality_gap": "Modality gap",
    "game/length_ratio": "Length of images by that of texts",
    "game/rotation_share": "Rotation's share of the gradient",
    "game/rotation_accuracy": "Rotation head's accuracy on held-out items (0.25: chance)",
    "game/rotation_probe_accuracy": "Accuracy of a fresh probe of rotations (0.25: chance)",
}
"""Diagnostics that are logged, with their titles in the report."""

_POINTS = 160
"""Points of a curve that are drawn; longer ones are thinned evenly."""

_AXES = ("step", "epoch")

_MOST_BYTES = 2**29
"""Larger logs are not read; a million lines of a method with many losses take less."""

Points = dict[float, list[float]]
"""Values by their place on the horizontal axis."""


@dataclass(frozen=True)
class Curve:
    """One line of a chart, usually an experiment: the mean over its runs, with their smallest and largest, `(n,)`."""

    experiment: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """The curves of those experiments that have any, over one axis, which may be logarithmic."""

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False


def training_charts(board: Board, notes: list[str]) -> dict[str, list[Chart]]:
    """Chart what was logged in training: the `scores` on the validation part, the `losses`, and the `game`."""
    logged = {row.experiment: [_logged(run, notes) for run in row.runs] for row in board.rows}
    names = sorted({name for runs in logged.values() for run in runs for name in run})

    def chart(name: str, title: str, x: str) -> Chart:
        lines = {row: [run[name][x] for run in runs if name in run] for row, runs in logged.items()}
        return Chart(title, x, _curves(lines))

    main = [f"val/{board.conditions.protocol}/{direction}" for direction in board.protocol.directions]
    losses = [name for name in names if name.startswith("train/")]
    return {
        "scores": [chart(name, name, "epoch") for name in main if name in names],
        "losses": [chart(name, name.removeprefix("train/"), "epoch") for name in losses],
        "game": [chart(name, title, "update") for name, title in GAME.items() if name in names],
    }


def ranking_charts(board: Board) -> list[Chart]:
    """Chart precision by recall, and recall by cut-off, on the test part in each direction."""
    kept = {row.experiment: [run.evidence for run in row.runs if run.evidence is not None] for row in board.rows}
    directions = board.protocol.directions
    precision = {
        d: _curves({name: [run.precision[d] for run in runs] for name, runs in kept.items()}) for d in directions
    }
    recall = {d: _curves({name: [run.recall[d] for run in runs] for name, runs in kept.items()}) for d in directions}
    return [
        *(Chart(f"Precision by recall, {d}", "recall", precision[d]) for d in directions),
        *(Chart(f"Recall@K in %, {d}", "K", recall[d], logarithmic=True) for d in directions),
    ]


def _logged(run: MeasuredRun, notes: list[str]) -> dict[str, dict[str, dict[float, float]]]:
    """Read the log of a run, by name and by `epoch` (counted from 1, a mean if logged several times) or `update`."""
    try:
        lines = _lines(run.folder.metrics)
    except UserError as error:
        notes.append(f"{run.folder.path} has no curves by epoch: {error}")
        return {}
    points: dict[str, dict[str, Points]] = defaultdict(
        lambda: {axis: defaultdict(list) for axis in ("epoch", "update")}
    )
    for line in lines:
        for name, value in line.items():
            if name not in ("epoch", "step"):
                points[name]["update"][line["step"]].append(value)
                if "epoch" in line:
                    points[name]["epoch"][line["epoch"] + 1].append(value)
    return {
        name: {axis: {x: mean(ys) for x, ys in found.items()} for axis, found in axes.items()}
        for name, axes in points.items()
    }


def _lines(path: Path) -> list[dict[str, float]]:
    """Read the lines of a log, without their empty cells.

    Raises:
        UserError: The file is missing or too large, or a line of it is not whole.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path.name} is larger than {_MOST_BYTES // 2**20} MiB.")
        text = path.read_text(encoding="utf-8")
        names, *rows = csv.reader(io.StringIO(text), strict=True)
        if "step" not in names or not text.endswith("\n"):
            raise ValueError("it has no column `step`, or ends within a line")
        lines = [{name: float(cell) for name, cell in zip(names, row, strict=True) if cell} for row in rows]
        if not all(
            math.isfinite(line.get(axis, 0 if axis == "epoch" else math.nan)) for line in lines for axis in _AXES
        ):
            raise ValueError("a line has no number of updates")
    except FileNotFoundError:
        raise UserError(f"{path.name} is missing.") from None
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path.name} is damaged: {error}.") from error
    return lines


def _curves(lines: Mapping[str, Sequence[Mapping[float, float]]]) -> tuple[Curve, ...]:
    """Average the lines of each experiment's runs; an experiment without points has no curve."""
    curves = []
    for experiment, of_runs in lines.items():
        values: Points = defaultdict(list)
        for x, value in chain.from_iterable(line.items() for line in of_runs):
            if math.isfinite(value):
                values[x].append(value)
        thinned = np.linspace(0, len(values) - 1, min(len(values), _POINTS)).round().astype(int)
        xs = np.array(sorted(values))[thinned].tolist()
        y, low, high = (tuple(of(values[x]) for x in xs) for of in (mean, min, max))
        curves.append(Curve(experiment, tuple(xs), y, low, high))
    return tuple(curve for curve in curves if curve.x)
