"""The chart of a board's power: which true differences are found with its number of seeds, and with more."""

import numpy as np

from cmr_lightning.reports.board import Board
from cmr_lightning.reports.board_tables import seeds_in_words
from cmr_lightning.reports.charts import Drawing, draw, style
from cmr_lightning.reports.curves import Chart, Curve

_SEEDS = (3, 5, 10, 20)
"""Numbers of seeds that have a curve, beside the board's own."""

_POINTS = 61


def power_drawing(board: Board) -> Drawing | None:
    """Draw the chart, the curve of the board's own number of seeds with the style `own`; None without comparisons."""
    chart = power_chart(board)
    if chart is None or board.typical is None:
        return None
    own = seeds_in_words(board, board.typical.seeds)
    names = [curve.experiment for curve in chart.curves]
    return draw(chart, {name: style(k) + " own" * (name == own) for k, name in enumerate(names)})


def power_chart(board: Board) -> Chart | None:
    """Chart the chance to find a difference in a single test over its size, a curve for each number of seeds."""
    if board.typical is None:
        return None
    numbers = sorted({*_SEEDS, board.typical.seeds})
    true = np.linspace(0, board.typical.with_seeds(numbers[0]).detectable(), _POINTS).tolist()
    curves = []
    for seeds in numbers:
        noise = board.typical.with_seeds(seeds)
        chances = tuple(map(noise.power, true))
        curves.append(Curve(seeds_in_words(board, seeds), tuple(true), chances, chances, chances))
    return Chart(f"Chance to find a true difference ({board.protocol.columns[-1]})", "difference", tuple(curves))
