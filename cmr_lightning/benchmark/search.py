"""What every row of a benchmark tries on validation, equally often, before it runs with the best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmr_lightning.benchmark.plan import Benchmark, Case, Search, of_row
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.game_state import ACTS
from cmr_lightning.runs.checkpoint_files import read_checkpoint
from cmr_lightning.runs.planned_run import PlannedRun

WITHOUT = {"model.weights.alignment": 0}
"""What makes a run the twin of one with an adversary, which then goes on learning and moves nobody."""


@dataclass(frozen=True)
class Tried:
    """What a trial found: its score on validation, larger being better, and the state of its adversary."""

    score: float
    state: str


def chosen(benchmark: Benchmark, search: Search, failed: Mapping[PlannedRun, str]) -> list[Case]:
    """Choose the settings of all rows by their trials, all of which have ended.

    Each row runs with the settings whose trial had the best score on validation. Where its adversary did not act in
    that one, but in another, a row `acting` runs with the best of those; and beside whichever of the two acts, a row
    `twin` with the same settings and no weight, in which nothing else differs.

    Raises:
        UserError: If all trials of a row failed.
    """
    rows: list[Case] = []
    for case, trials in benchmark.trials(search):
        found = {number: tried(trial) for number, trial in enumerate(trials) if trial not in failed}
        if not found:
            raise UserError(f"All trials of {case} failed: {failed[trials[0]]}")
        rows += _rows_of(case, search, found)
    return rows


def _rows_of(case: Case, search: Search, found: Mapping[int, Tried]) -> list[Case]:
    def with_settings(number: int, suffix: str, more: Mapping[str, Any]) -> Case:
        return case.named(suffix, {**of_row(case, search.settings[number]), **more})

    best = _best(found)
    rows = [with_settings(best, "", {})]
    acting = {number: trial for number, trial in found.items() if trial.state in ACTS}
    if not acting:
        return rows
    if found[best].state not in ACTS:
        best = _best(acting)
        rows.append(with_settings(best, "acting", {}))
    return [*rows, with_settings(best, "twin", WITHOUT)]


def _best(found: Mapping[int, Tried]) -> int:
    return max(found, key=lambda number: found[number].score)  # the first of equal ones


def tried(trial: PlannedRun) -> Tried:
    """Read what a trial found."""
    selection = trial.run.read_summary()["selection"]
    score = selection["value"] if selection["mode"] == "max" else -selection["value"]
    return Tried(score, read_checkpoint(trial.run.best).get("game", {}).get("figures", {}).get("state", "none"))


def told(rows: Sequence[Case], search: Search) -> str:
    """Say in a line how many rows the search made."""
    acting = sum((row.variant or "").endswith("acting") for row in rows)
    return f"{len(search.settings)} settings tried for each row; {len(rows)} rows, {acting} of them for acting's sake."
