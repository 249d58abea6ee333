"""Curves of experiments: by epoch and by update from `metrics.csv`, by recall and by cut-off from the ranks."""

from __future__ import annotations

import csv
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.reports.board import Board, MeasuredRun, Notes
from cmr_lightning.reports.evidence import Line

GAME = {
    "discriminator_accuracy": "Discriminator accuracy (0.5: fooled)",
    "discriminator_entropy": "Discriminator entropy (nats, at most 0.693)",
    "gradient_share": "Adversary's share of the gradient",
    "modality_gap": "Modality gap",
}
"""What the diagnostics log under `game/`, and how the report calls it."""

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
        title: What is drawn.
        x_label: Name of the axis.
        curves: Those of the experiments that have any.
        logarithmic: Whether the horizontal axis is.
    """

    title: str
    x_label: str
    curves: tuple[Curve, ...]
    logarithmic: bool = False


def training_charts(board: Board, notes: Notes) -> dict[str, list[Chart]]:
    """What was logged while training: the `scores` on the validation part, the `losses`, and the `game`."""
    logged = {row.experiment: [_logged(run, notes) for run in row.runs] for row in board.rows}
    names = sorted({name for runs in logged.values() for run in runs for name in run})

    def chart(title: str, name: str, x: str) -> Chart:
        lines = {experiment: [run[name][x] for run in runs if name in run] for experiment, runs in logged.items()}
        return Chart(title, x, _curves(lines))

    main = f"val/{board.conditions.protocol}"
    return {
        "scores": [
            chart(f"{main}/{d}", f"{main}/{d}", "epoch") for d in board.protocol.directions if f"{main}/{d}" in names
        ],
        "losses": [chart(name.removeprefix("train/"), name, "epoch") for name in names if name.startswith("train/")],
        "game": [chart(title, f"game/{key}", "update") for key, title in GAME.items() if f"game/{key}" in names],
    }


def ranking_charts(board: Board) -> list[Chart]:
    """Precision by recall, and recall by cut-off, of the test part in each direction."""
    kept = {row.experiment: [run.evidence for run in row.runs if run.evidence is not None] for row in board.rows}

    def precision(direction: str) -> Chart:
        lines = {experiment: [evidence.precision[direction] for evidence in runs] for experiment, runs in kept.items()}
        return Chart(f"Precision by recall, {direction}", "recall", _curves(lines))

    def recall(direction: str) -> Chart:
        lines = {experiment: [evidence.recall[direction] for evidence in runs] for experiment, runs in kept.items()}
        return Chart(f"Recall@K in %, {direction}", "K", _curves(lines), logarithmic=True)

    return [chart(direction) for chart in (precision, recall) for direction in board.protocol.directions]


def _logged(run: MeasuredRun, notes: Notes) -> dict[str, dict[str, dict[float, float]]]:
    """What a run logged, by name and by `epoch` (counted from 1, a mean if logged several times) or `update`."""
    if not run.run.metrics.exists():
        notes.add(f"{run.run.path} has no curves by epoch: {run.run.metrics.name} is missing.")
        return {}
    collected: dict[str, dict[str, dict[float, list[float]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    with run.run.metrics.open(newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            for name, text in line.items():
                if name not in ("epoch", "step") and text:
                    collected[name]["update"][float(line["step"])].append(float(text))
                    if line.get("epoch"):
                        collected[name]["epoch"][float(line["epoch"]) + 1].append(float(text))
    return {
        name: {axis: {x: mean(values) for x, values in axes[axis].items()} for axis in ("epoch", "update")}
        for name, axes in collected.items()
    }


def _curves(lines: Mapping[str, Sequence[Line]]) -> tuple[Curve, ...]:
    curves = (_curve(experiment, of_runs) for experiment, of_runs in lines.items())
    return tuple(curve for curve in curves if curve.x)


def _curve(experiment: str, lines: Sequence[Line]) -> Curve:
    values: dict[float, list[float]] = defaultdict(list)
    for line in lines:
        for x, y in line.items():
            if math.isfinite(y):
                values[x].append(y)
    kept = _thinned(np.array(sorted(values)))
    return Curve(
        experiment,
        tuple(kept),
        tuple(mean(values[x]) for x in kept),
        tuple(min(values[x]) for x in kept),
        tuple(max(values[x]) for x in kept),
    )


def _thinned(x: NDArray[np.float64]) -> list[float]:
    if len(x) <= _POINTS:
        return x.tolist()
    return x[np.linspace(0, len(x) - 1, _POINTS).round().astype(int)].tolist()
