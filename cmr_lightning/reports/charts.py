"""Where the lines of a chart are drawn: coordinates and ticks for the SVG in the page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cmr_lightning.reports.curves import Chart, Curve

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 8, 40
"""Space around the field of the chart, in the units of the drawing."""

FIELD = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
"""Where the axes are, for the page."""

COLOURS = 10
"""Colours of the style sheet; where there are more experiments, lines are dashed."""


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is, and its number."""

    at: float
    label: str


@dataclass(frozen=True)
class Drawn:
    """One line: its experiment, its style `s0`, `s1`, ..., its points and those around its band, as SVG has them."""

    experiment: str
    style: str
    line: str
    band: str
    single: tuple[float, float] | None


@dataclass(frozen=True)
class Drawing:
    """A chart in coordinates."""

    title: str
    x_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Drawn, ...]


def style(position: int) -> str:
    """Classes of the line of the experiment at a position on its board."""
    return f"s{position % COLOURS} d{position // COLOURS % 3}"


def draw(chart: Chart, styles: dict[str, str]) -> Drawing:
    """Find the coordinates of a chart.

    Args:
        chart: A chart with at least one curve.
        styles: Style of each experiment's line.
    """
    xs = [x for curve in chart.curves for x in curve.x]
    lows, highs = ([y for curve in chart.curves for y in side(curve)] for side in (_low, _high))
    x_low, x_high = min(xs), max(xs)
    y_ticks = ticks(min(lows), max(highs))
    y_low, y_high = min(*lows, y_ticks[0]), max(*highs, y_ticks[-1])

    def across(x: float) -> float:
        share = (
            _share(math.log(x), math.log(x_low), math.log(x_high)) if chart.logarithmic else _share(x, x_low, x_high)
        )
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def down(y: float) -> float:
        return round(HEIGHT - BOTTOM - _share(y, y_low, y_high) * (HEIGHT - BOTTOM - TOP), 1)

    def drawn(curve: Curve) -> Drawn:
        around = [*zip(curve.x, curve.high, strict=True), *reversed([*zip(curve.x, curve.low, strict=True)])]
        points = [(across(x), down(y)) for x, y in zip(curve.x, curve.y, strict=True)]
        return Drawn(
            curve.experiment,
            styles[curve.experiment],
            _path(points),
            _path([(across(x), down(y)) for x, y in around]) if curve.low != curve.high else "",
            points[0] if len(points) == 1 else None,
        )

    if chart.logarithmic:
        x_ticks = [x for x in sorted(set(xs)) if f"{x:g}"[0] in "15"]  # 2, 20, 200 would leave no room for the others
    else:
        whole = all(float(x).is_integer() for x in xs)
        x_ticks = [x for x in ticks(x_low, x_high) if x_low <= x <= x_high and (x.is_integer() or not whole)]
    return Drawing(
        chart.title,
        chart.x_label,
        tuple(Tick(across(x), _label(x)) for x in x_ticks),
        tuple(Tick(down(y), _label(y)) for y in y_ticks),
        tuple(map(drawn, chart.curves)),
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers, about `about` of them, from the last one not above `low` to the first one not below `high`."""
    if low == high:
        margin = abs(low) / 2 or 0.5
        low, high = low - margin if low else 0.0, high + margin
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(i * float(step), 12) for i in range(first, last + 1)]


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if low == high else (value - low) / (high - low)


def _label(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _path(points: list[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _low(curve: Curve) -> tuple[float, ...]:
    return curve.low


def _high(curve: Curve) -> tuple[float, ...]:
    return curve.high
