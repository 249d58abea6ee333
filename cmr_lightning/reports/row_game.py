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
class RowGame:
    """The game of a row: its state, and the means over its runs that it follows from.

    Attributes:
        state: That of the adversary of modalities.
        others: Those of adversaries of the method's own, by their terms.
        figures: Means of the modalities' game.
        probe_raw: Accuracy of the probe that sees lengths, too.
        gap: Distance of the modalities' centroids.
        length_ratio: Mean length of images over that of texts.
        twin: The row of the same method and settings whose alignment has no weight, if the table has it.
        twin_probe: Accuracy of the probe there.
    """

    state: State
    others: Mapping[str, State]
    figures: Figures
    probe_raw: float | None
    gap: float | None
    length_ratio: float | None
    twin: str | None = None
    twin_probe: float | None = None

    @property
    def word(self) -> str:
        """The states in words, `–` where nobody plays."""
        played = {"": self.state, **{f"{term} ": state for term, state in self.others.items()}}
        words = [f"{term}{state}" for term, state in played.items() if state != "none"]
        return ", ".join(words) or "–"


def row_games(rows: Mapping[str, Sequence[Record]]) -> dict[str, RowGame]:
    """Judge the game of each row of a table; a row with a run that has no figures has no game."""
    watched = {name: records for name, records in rows.items() if all(record.game.get("items") for record in records)}
    return {name: _row_game(name, records, watched) for name, records in watched.items()}


def _row_game(name: str, records: Sequence[Record], rows: Mapping[str, Sequence[Record]]) -> RowGame:
    games = [record.game for record in records]
    figures = _mean_figures(games, "alignment")
    twin = None if figures.share is None else _twin_of(name, rows)
    twin_probe = None if twin is None else _mean([_probe_of(record, rows[twin]) for record in records])
    terms = [key.removesuffix("_state") for key in games[0] if key.endswith("_state")]
    return RowGame(
        state_of(figures, twin_probe),
        {term: state_of(_mean_figures(games, term)) for term in terms},
        figures,
        _mean([game.get("probe_accuracy_raw") for game in games]),
        _mean([game.get("modality_gap") for game in games]),
        _mean([game.get("length_ratio") for game in games]),
        twin,
        twin_probe,
    )


def _twin_of(name: str, rows: Mapping[str, Sequence[Record]]) -> str | None:
    """Find a row without a share in which every run of a row has its like: of the same settings, seed and split."""
    for other, records in rows.items():
        idle = all(record.game.get("gradient_share") is None for record in records)
        if idle and {_like(record) for record in rows[name]} <= {_like(record) for record in records}:
            return other
    return None


def _like(record: Record) -> tuple[Any, ...]:
    return record.method, record.game.get("setting"), record.seed, record.split["checksum"]


def _probe_of(record: Record, twins: Sequence[Record]) -> Any:
    return next(twin.game.get("probe_accuracy") for twin in twins if _like(twin) == _like(record))


def _mean_figures(games: Sequence[Mapping[str, Any]], term: str) -> Figures:
    of_runs = [figures_of(game, term) for game in games]
    share, accuracy, probe = (_mean([getattr(of, key) for of in of_runs]) for key in ("share", "accuracy", "probe"))
    return Figures(share, accuracy, probe, min(of.items for of in of_runs), of_runs[0].views, of_runs[0].mode)


def _mean(values: Sequence[Any]) -> float | None:
    """Average the runs' values; None unless all of them have one."""
    return None if any(value is None for value in values) else mean(values)
