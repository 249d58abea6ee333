"""What a term adds: each method with it less the same method without it, by regime, as a table and as a figure."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any
from xml.sax.saxutils import unescape

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.game_state import figures_of
from cmr_lightning.reports.ablations import Ablation
from cmr_lightning.reports.board import Board, Row
from cmr_lightning.reports.difference import Difference
from cmr_lightning.runs.planned_run import SEARCHED
from cmr_lightning.runs.settings import look_up

EFFECTS_LEGEND = (
    "Each method with a term, less the same method without it (blue) or less its twin, in which the term has no weight "
    "and nothing else differs (orange); with 95 % intervals for other seeds and queries, one at a time. Beside each "
    "stands whether the adversary acted."
)

TWIN, ACTING = "_twin", "_acting"
"""Ends of the names of rows that a benchmark's `search` adds: with no weight, and with an adversary that acts."""

_COLUMN, _LINE, _NAMES = 2.2, 0.2, 2.4  # inches: width of a regime, height of a row, width of the names


@dataclass(frozen=True)
class Effect:
    """What a row has more than the row beside it that lacks the term.

    Attributes:
        method: The experiment without its variant's name, such as `wikipedia/acmr`.
        term: What is added: the variant's name in words; `own` for the alignment of the experiment itself.
        acting: Whether the row is beside its twin, in which nothing differs but the weight; else it is beside the
            method without the term, where each has the settings that were chosen for it.
        state: Whether the adversary acted, `–` where there is none.
        difference: The mean of the directions in the main metric.
    """

    method: str
    term: str
    acting: bool
    state: str
    difference: Difference


def effects(board: Board) -> list[Effect]:
    """Find what terms add on a board, method by method; nothing where one seed or missing ranks leave no interval."""
    rows = {row.experiment: row for row in board.rows}
    found = []
    for method, family in _families(list(rows)).items():
        plain = [rows[name] for name in family if not _aligned(rows[name]) and not name.endswith(TWIN)]
        family = [name for name in family if plain and _terms(rows[name]) == _terms(plain[0])]  # none without a label
        for name in family:
            twin = rows.get(f"{name.removesuffix(ACTING)}{TWIN}")
            beside = [] if name.endswith((TWIN, ACTING)) or not _aligned(rows[name]) else plain[:1]
            found += [_effect(method, rows[name], other, acting=False) for other in beside]
            if twin is not None and (name.endswith(ACTING) or f"{name}{ACTING}" not in rows):
                found.append(_effect(method, rows[name], twin, acting=True))
    return [effect for effect in found if effect is not None]


def _families(names: Sequence[str]) -> dict[str, list[str]]:
    """Gather the rows of each experiment and its variants, by the shortest name."""
    families: dict[str, list[str]] = {}
    for name in sorted(names, key=lambda name: (len(name), name)):
        base = next((base for base in families if name.startswith(f"{base}_")), name)
        families.setdefault(base, []).append(name)
    return families


def _aligned(row: Row) -> bool:
    """Tell whether something with a weight pulls the modalities together in a row."""
    return all(figures_of(run.record.game).share is not None for run in row.runs)


def _terms(row: Row) -> dict[str, Any]:
    """Return the weights of a method's own terms."""
    weights = look_up(row.record.config, "model.weights") or {}
    return {term: weight for term, weight in weights.items() if term not in ("alignment", "rotation")}


def _effect(method: str, row: Row, other: Row, acting: bool) -> Effect | None:
    others = {run.case: run for run in other.runs}
    pairs = [(run, others[run.case]) for run in row.runs if run.case in others]
    try:
        measured = Ablation(row, other, pairs).measured if pairs else {}
    except UserError:  # of what cannot be compared, the tables say why
        measured = {}
    if not measured:
        return None
    term = row.experiment.removesuffix(ACTING).removeprefix(method).removeprefix("_").replace("_", " ") or "own"
    return Effect(method, term, acting, row.game_word, measured["mean"])


def draw_effects(boards: Sequence[Board]) -> list[tuple[str, str]]:
    """Draw what terms add, a figure for each data set and kind of features with a column for each regime.

    Returns:
        What each figure shows, and the figure as SVG; none where no board has rows with and without a term.
    """
    found = [(board, effects(board)) for board in boards]
    figures = []
    for (dataset, features), group in groupby(
        (pair for pair in found if pair[1]), key=lambda pair: (pair[0].conditions.dataset, pair[0].conditions.features)
    ):
        columns = [(board.conditions.regime or "all pairs, all labels", of_board) for board, of_board in group]
        title = f"{dataset}; {features}"
        figures.append((title, _svg(columns, title)))
    return figures


def title_of(svg: str) -> str:
    """Read what a figure shows from its SVG.

    Examples:
        >>> title_of("<svg><dc:title>Toys; features &amp; words</dc:title></svg>")
        'Toys; features & words'
    """
    return unescape(svg.partition("<dc:title>")[2].partition("</dc:title>")[0])


def _svg(columns: Sequence[tuple[str, Sequence[Effect]]], title: str) -> str:
    """Draw intervals of the effects, a column a regime, as the text of an SVG picture."""
    lines = list(dict.fromkeys((e.method, e.term, e.acting) for _, of_regime in columns for e in of_regime))
    places = {line: place for place, line in enumerate(sorted(lines))}
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "effects", "font.size": 8}):
        figure = Figure((_NAMES + _COLUMN * len(columns), 0.9 + _LINE * len(lines)), layout="constrained")
        axes = figure.subplots(1, len(columns), sharey=True, squeeze=False)[0]
        for axis, (regime, of_regime) in zip(axes, columns, strict=True):
            axis.axvline(0, color="#888", linewidth=0.8)
            for effect in of_regime:
                place = places[effect.method, effect.term, effect.acting]
                low, high = effect.difference.interval
                style = {"color": "#c2410c" if effect.acting else "#1d4ed8", "linewidth": 1.5}
                axis.plot([low, high], [place, place], **style)
                axis.plot(effect.difference.mean, place, "o", color=style["color"], markersize=3)
                axis.annotate(effect.state, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=6)
            axis.set_title(regime.replace(", ", ",\n"), fontsize=8)
            axis.set_yticks(list(places.values()), [_name(line) for line in places])
            axis.grid(axis="y", linewidth=0.3)
            axis.set_xlabel("difference")
            axis.xaxis.set_major_locator(MaxNLocator(4))
        axes[0].invert_yaxis()
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Title": title})
    return text.getvalue()


def _name(line: tuple[str, str, bool]) -> str:
    method, term, acting = line
    return f"{method.rpartition('/')[2].removeprefix(SEARCHED)}, {term}{', acting' if acting else ''}"
