"""Coordinates and ticks of charts, for the SVG in the report's page."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

from cmr_lightning.reports.curves import Chart, Curve

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 18, 8, 40
"""Margins of the plot, in the units of the drawing."""

PLOT = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM}
"""Position of the axes, for the page."""

COLOURS = 10
"""Colours of the style sheet; further experiments have dashed lines."""


@dataclass(frozen=True)
class Line:
    """One line of a chart: its points and the corners of the band around it as SVG writes them.

    The band is empty if it has no width. `single` is the only point, if there is no other.
    """

    experiment: str
    style: str
    points: str
    band: str
    single: tuple[float, float] | None


@dataclass(frozen=True)
class Drawing:
    """A chart in coordinates; a tick has a position and a label."""

    title: str
    x_label: str
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    lines: tuple[Line, ...]


def style(position: int) -> str:
    """Return the style classes of the experiment at a position on its board."""
    return f"s{position % COLOURS} d{position // COLOURS % 3}"


def draw(chart: Chart, styles: dict[str, str]) -> Drawing:
    """Compute the coordinates of a chart with at least one curve, given the style of each experiment's line."""
    xs = sorted({x for curve in chart.curves for x in curve.x})
    ys = [y for curve in chart.curves for y in (*curve.low, *curve.high)]
    y_ticks = ticks(min(ys), max(ys))
    y_low, y_high = min(*ys, y_ticks[0]), max(*ys, y_ticks[-1])
    scale = math.log if chart.logarithmic else float

    def point(x: float, y: float) -> tuple[float, float]:
        across = _share(scale(x), scale(xs[0]), scale(xs[-1])) * (WIDTH - LEFT - RIGHT)
        up = _share(y, y_low, y_high) * (HEIGHT - BOTTOM - TOP)
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    def line(curve: Curve) -> Line:
        points = [point(x, y) for x, y in zip(curve.x, curve.y, strict=True)]
        above, below = zip(curve.x, curve.high, strict=True), zip(curve.x[::-1], curve.low[::-1], strict=True)
        return Line(
            curve.experiment,
            styles[curve.experiment],
            _path(points),
            _path([point(x, y) for x, y in (*above, *below)]) if curve.low != curve.high else "",
            points[0] if len(points) == 1 else None,
        )

    if chart.logarithmic:
        x_ticks = [x for x in xs if f"{x:g}"[0] in "15"]  # labels at 2, 20, 200 would overlap with these
    else:
        whole = all(float(x).is_integer() for x in xs)
        x_ticks = [x for x in ticks(xs[0], xs[-1]) if xs[0] <= x <= xs[-1] and (x.is_integer() or not whole)]
    return Drawing(
        chart.title,
        chart.x_label,
        [(point(x, y_low)[0], _label(x)) for x in x_ticks],
        [(point(xs[0], y)[1], _label(y)) for y in y_ticks],
        tuple(map(line, chart.curves)),
    )


def ticks(low: float, high: float) -> list[float]:
    """Choose about five round numbers, from the last one not above `low` to the first one not below `high`.

    Examples:
        >>> ticks(13, 87)
        [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    """
    if low == high:
        margin = abs(low) / 2 or 0.5
        low, high = low - margin if low else 0.0, high + margin
    return [round(float(tick), 12) for tick in MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)]


def _share(value: float, low: float, high: float) -> float:
    return 0.5 if low == high else (value - low) / (high - low)


def _label(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _path(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)
