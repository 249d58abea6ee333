"""Curves of experiments: training by epoch and by update from `metrics.csv`, precision and recall from the ranks."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.reports.board import Board, MeasuredRun

GAME = {
    "discriminator_accuracy": "Discriminator accuracy (0.5: fooled)",
    "discriminator_entropy": "Discriminator entropy (nats, at most 0.693)",
    "gradient_share": "Adversary's share of the gradient",
    "modality_gap": "Modality gap",
}
"""Diagnostics that are logged under `game/`, with their titles in the report."""

_POINTS = 160
"""Points of a curve that are drawn; longer ones are thinned evenly."""


@dataclass(frozen=True)
class Curve:
    """One experiment in a chart: the mean over its runs, with their smallest and largest value, each `(n,)`."""

    experiment: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Curves over one axis.

    Attributes:
        title: Title of the chart.
        x_label: Name of the axis.
        curves: Those of the experiments that have any.
        logarithmic: True if the horizontal axis is logarithmic.
    """

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False


def training_charts(board: Board, notes: list[str]) -> dict[str, list[Chart]]:
    """Chart what was logged in training: the `scores` on the validation part, the `losses`, and the `game`."""
    logged = {row.experiment: [_logged(run, notes) for run in row.runs] for row in board.rows}
    names = sorted({name for runs in logged.values() for run in runs for name in run})

    def charts(titles: Mapping[str, str], x: str) -> list[Chart]:
        return [
            Chart(
                title, x, _curves({row: [run[name][x] for run in runs if name in run] for row, runs in logged.items()})
            )
            for name, title in titles.items()
            if name in names
        ]

    main = [f"val/{board.conditions.protocol}/{direction}" for direction in board.protocol.directions]
    return {
        "scores": charts({name: name for name in main}, "epoch"),
        "losses": charts({name: name.removeprefix("train/") for name in names if name.startswith("train/")}, "epoch"),
        "game": charts({f"game/{key}": title for key, title in GAME.items()}, "update"),
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
    path = run.folder.metrics
    if not path.exists():
        notes.append(f"{run.folder.path} has no curves by epoch: {path.name} is missing.")
        return {}
    points: dict[str, dict[str, list[tuple[float, float]]]] = defaultdict(lambda: {"epoch": [], "update": []})
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for name, text in line.items():
                if name not in ("epoch", "step") and text:
                    points[name]["update"].append((float(line["step"]), float(text)))
                    if line.get("epoch"):
                        points[name]["epoch"].append((float(line["epoch"]) + 1, float(text)))
    return {
        name: {axis: {x: mean(ys) for x, ys in _by_x(found).items()} for axis, found in axes.items()}
        for name, axes in points.items()
    }


def _by_x(points: Sequence[tuple[float, float]]) -> dict[float, list[float]]:
    values: dict[float, list[float]] = defaultdict(list)
    for x, y in points:
        values[x].append(y)
    return values


def _curves(lines: Mapping[str, Sequence[Mapping[float, float]]]) -> tuple[Curve, ...]:
    """Average the lines of each experiment's runs; an experiment without points has no curve."""
    curves = []
    for experiment, of_runs in lines.items():
        values = _by_x([(x, y) for line in of_runs for x, y in line.items() if math.isfinite(y)])
        xs = _thinned(np.array(sorted(values)))
        y, low, high = (tuple(of(values[x]) for x in xs) for of in (mean, min, max))
        curves.append(Curve(experiment, tuple(xs), y, low, high))
    return tuple(curve for curve in curves if curve.x)


def _thinned(x: NDArray[np.float64]) -> list[float]:
    if len(x) <= _POINTS:
        return x.tolist()
    return x[np.linspace(0, len(x) - 1, _POINTS).round().astype(int)].tolist()
