"""Whether the adversary of a row acted, over all its runs and against its twin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import Any

from cmr_lightning.evaluation import Record
from cmr_lightning.evaluation.game_state import MEANINGS, Figures, State, figures_of, state_of

GAME_LEGEND = (
    "Game: whether the adversary acted, by figures of validation items that trained nobody: "
    + "; ".join(f"{state}, {meaning}" for state, meaning in MEANINGS.items() if state != "none")
    + ". Farther and nearer are by a fresh probe against the same method without the adversary, where a table has it; "
    "else they cannot be told, and it is neutral."
)


@dataclass(frozen=True)
class TermGame:
    """The game of a row with one term that aligns, over all its runs.

    Attributes:
        state: What follows from the figures.
        figures: Means over the runs.
        twin: The row of the same settings in which the term has no weight, if the table has it.
        twin_probe: Accuracy of the probe there, mean over the same seeds and splits.
    """

    state: State
    figures: Figures
    twin: str | None
    twin_probe: float | None


@dataclass(frozen=True)
class RowGame:
    """The games of a row.

    Attributes:
        terms: By the terms that align: `alignment` first, then those of the method's own.
        probe_raw: Accuracy of the probe that sees lengths, too.
        gap: Distance of the modalities' centroids.
        length_ratio: Mean length of images over that of texts.
    """

    terms: Mapping[str, TermGame]
    probe_raw: float | None
    gap: float | None
    length_ratio: float | None

    @property
    def alignment(self) -> TermGame:
        """The game of the modalities."""
        return self.terms["alignment"]

    @property
    def word(self) -> str:
        """The states in words, `–` where nobody plays."""
        played = {term: game.state for term, game in self.terms.items() if game.state != "none"}
        return ", ".join(state if term == "alignment" else f"{term} {state}" for term, state in played.items()) or "–"


def row_games(rows: Mapping[str, Sequence[Record]]) -> dict[str, RowGame]:
    """Judge the games of the rows of a table; a row with a run that has no figures has none."""
    watched = {name: records for name, records in rows.items() if all(record.game.get("items") for record in records)}
    return {name: _row_game(name, watched) for name in watched}


def _row_game(name: str, rows: Mapping[str, Sequence[Record]]) -> RowGame:
    games = [record.game for record in rows[name]]
    own = [key.removesuffix("_state") for key in games[0] if key.endswith("_state")]
    return RowGame(
        {term: _term_game(name, rows, term) for term in ("alignment", *own)},
        *(_mean([game.get(key) for game in games]) for key in ("probe_accuracy_raw", "modality_gap", "length_ratio")),
    )


def _term_game(name: str, rows: Mapping[str, Sequence[Record]], term: str) -> TermGame:
    of_runs = [figures_of(record.game, term) for record in rows[name]]
    share, accuracy, probe = (_mean([getattr(of, key) for of in of_runs]) for key in ("share", "accuracy", "probe"))
    items = min(of.items for of in of_runs)
    figures = Figures(share, accuracy, probe, items, of_runs[0].views, of_runs[0].mode)
    twin = None if share is None else _twin_of(rows[name], rows, term)
    if twin is None:
        return TermGame(state_of(figures), figures, None, None)
    probes = {_like(record, term): figures_of(record.game, term).probe for record in rows[twin]}
    twin_probe = _mean([probes[_like(record, term)] for record in rows[name]])
    return TermGame(state_of(figures, twin_probe), figures, twin, twin_probe)


def _twin_of(records: Sequence[Record], rows: Mapping[str, Sequence[Record]], term: str) -> str | None:
    """Find the row in which a term has no share, and every run its like: of the same settings, seed and split."""
    wanted = {_like(record, term) for record in records}
    for name, others in rows.items():
        without = all(figures_of(other.game, term).share is None for other in others)
        if without and wanted <= {_like(other, term) for other in others}:
            return name
    return None


def _like(record: Record, term: str) -> tuple[Any, ...]:
    return record.method, record.game.get(f"{term}_setting"), record.seed, record.split["checksum"]


def _mean(values: Sequence[Any]) -> float | None:
    """Average the runs' values; None unless all of them have one."""
    return None if any(value is None for value in values) else mean(values)
