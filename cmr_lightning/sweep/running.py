"""Running one trial, which is a run like any other, and ending it early if its scores are bad."""

import csv
from dataclasses import dataclass
from itertools import accumulate
from threading import Event

import optuna
from optuna.trial import TrialState

from cmr_lightning.runs.pool import Outcome, execute
from cmr_lightning.runs.progress import Tell
from cmr_lightning.runs.run import Run
from cmr_lightning.sweep.trials import Trials


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        state: Complete, pruned or failed; running if it was interrupted and is to be resumed.
        score: Its best score, if there is any.
        measured: How many scores there are.
        seconds: How long it took, in all its parts if it was interrupted; None if one of them was not measured.
        error: Why it failed.
    """

    number: int
    state: TrialState
    score: float | None
    measured: int
    seconds: float | None
    error: str | None


def run_trial(trials: Trials, trial: optuna.Trial, environment: dict[str, str], stopping: Event, tell: Tell) -> Ended:
    """Train a trial in a process of its own, and tell the study how it ended, unless it failed.

    One that was interrupted or failed is resumed from its last checkpoint. It ends when `stopping` is set, and can be
    resumed later. See `execute` for `environment` and `tell`.
    """
    planned = trials.planned(trial)
    before = trial.user_attrs.get("seconds", 0.0)
    trial.set_user_attr("seconds", None)  # which remains if this process is killed
    reported = trials.study.get_trials(deepcopy=False)[trial.number].last_step or 0
    pruned = False

    def ends() -> bool:
        nonlocal reported, pruned
        scores = scores_of(planned.run, trials.sweep.metric, trials.sweep.maximize)
        while reported < len(scores) and not pruned:
            reported += 1
            trial.report(scores[reported - 1], reported)
            pruned = trial.should_prune()
        return pruned or stopping.is_set()

    outcome = Outcome(planned, 0.0)
    if not planned.run.finished:
        way = "--resume=true" if planned.run.checkpoints() else "--overwrite=true"
        name = f"trial {trial.number}"
        outcome = execute(planned, lambda: [[*planned.fit, way]], environment, ends, lambda _, phase: tell(name, phase))
    ends()
    seconds = None if before is None else before + outcome.seconds
    trial.set_user_attr("seconds", seconds)
    scores = scores_of(planned.run, trials.sweep.metric, trials.sweep.maximize)
    score = scores[-1] if scores else None
    if outcome.error is not None:
        state = TrialState.FAIL
        trial.set_user_attr("error", outcome.error)
    elif outcome.stopped and not pruned:
        state = TrialState.RUNNING
    else:
        state = TrialState.PRUNED if outcome.stopped else TrialState.COMPLETE
        trials.study.tell(trial, None if outcome.stopped else score, state)
    return Ended(trial.number, state, score, len(scores), seconds, outcome.error)


def scores_of(run: Run, metric: str, maximize: bool) -> list[float]:
    """Read the best score so far after each measurement of a run, as the checkpoint is chosen by that."""
    if not run.metrics.exists():
        return []
    whole_lines = run.metrics.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()
    scores = [float(row[metric]) for row in csv.DictReader(whole_lines) if row.get(metric)]
    return list(accumulate(scores, max if maximize else min))
