"""The trials of a sweep, in a file that several processes may share and that outlives each of them."""

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from cmr_lightning.errors import UserError
from cmr_lightning.files.file_lock import is_locked, locked, locked_in_turn
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.settings import as_options
from cmr_lightning.sweep.file import SweepFile
from cmr_lightning.sweep.parameters import Parameter

ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


class Trials:
    """The trials of a sweep, in order, and the choice of the next one.

    A trial is a run in `trials/<number>`, and locked by the process that runs it. One that the study takes for running
    but that is not locked was left by a process that died, or failed, which is never told to the study, as most reasons
    pass, such as a GPU that others had taken. The next process to look resumes it. No process takes a trial twice, so
    that one that always fails does not hold a sweep up.

    Args:
        sweep: The sweep file.
        folder: Where everything about the sweep is kept.
        overrides: Options of all trials.
        seed: Seed of all trials.
    """

    def __init__(self, sweep: SweepFile, folder: Path, overrides: Sequence[str], seed: int) -> None:
        self.sweep = sweep
        self.folder = folder
        self.overrides = tuple(overrides)
        self.seed = seed
        self._taken: set[int] = set()
        early = sweep.early_terminate
        pruner = optuna.pruners.SuccessiveHalvingPruner(early.min_iter, early.eta) if early else None
        with self.alone():
            storage = RDBStorage(_address(folder / "study.db"), engine_kwargs={"connect_args": {"timeout": 60}})
            self.study = optuna.create_study(
                storage=storage,
                study_name=next(iter(optuna.get_all_study_names(storage)), folder.resolve().name),  # it may be moved
                direction="maximize" if sweep.maximize else "minimize",
                pruner=pruner or optuna.pruners.NopPruner(),
                load_if_exists=True,
            )

    def alone(self) -> AbstractContextManager[None]:
        """Keep other processes from choosing trials, and from writing beside them, until the end of the context."""
        return locked_in_turn(self.folder / "taking.lock")

    @property
    def varied(self) -> list[Parameter]:
        """The parameters that are not constant."""
        return [parameter for parameter in self.sweep.parameters if parameter.drawn is not None]

    def begin(self, experiment: Mapping[str, Any], committed: Mapping[str, Any]) -> str | None:
        """Check that the trials are of this sweep, and make the experiment as it is written the first one.

        Args:
            experiment: Describes the sweep: two that differ here are not one.
            committed: The experiment's own values of the varied parameters.

        Returns:
            Why the experiment as it is written is not among the trials; None if it is.

        Raises:
            UserError: If the trials that are there are of another sweep.
        """
        with self.alone():
            known = self.study.user_attrs.get("experiment", experiment)
            self.study.set_user_attr("experiment", dict(known))
            if differing := sorted(key for key in {*known, *experiment} if known.get(key) != experiment.get(key)):
                raise UserError(
                    f"{self.folder} holds trials of a sweep that differs in {', '.join(differing)}; give another "
                    f"--folder, or delete that one."
                )
            if self.sweep.method == "grid":
                return None
            drawn = {}
            for parameter in self.varied:
                try:
                    drawn[parameter.key] = parameter.place(committed.get(parameter.key))
                except ValueError as error:
                    return f"{parameter.key}: {error}"
            if not self.study.get_trials(deepcopy=False):
                self.study.enqueue_trial(drawn)
            return None

    def ended(self, count: int) -> list[FrozenTrial]:
        """List those of the first `count` trials that are complete or pruned."""
        return [trial for trial in self.study.get_trials(deepcopy=False, states=ENDED) if trial.number < count]

    def left(self, count: int) -> list[FrozenTrial]:
        """List those of the first `count` trials that began and did not end: they run, were left, or failed."""
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return [trial for trial in running if trial.number < count]

    def best(self, count: int) -> FrozenTrial | None:
        """Find the complete one with the best score among the first `count` trials; None if there is none."""
        sign = 1 if self.sweep.maximize else -1
        complete = [trial for trial in self.ended(count) if trial.state == TrialState.COMPLETE]
        return max(complete, key=lambda trial: sign * trial.values[0], default=None)

    @contextmanager
    def next(self, count: int, stopping: threading.Event) -> Iterator[optuna.Trial | None]:
        """Choose a trial to run: one that was left or failed, or a new one; None when there is nothing left to try.

        No other process is given the trial until the context is left. Trials that others run, which may leave them
        behind, are waited for until `stopping` is set.
        """
        with ExitStack() as held:
            trial = self._take(count, held)
            while trial is None and self._others_run(count) and not stopping.wait(1):
                trial = self._take(count, held)
            yield trial

    def _take(self, count: int, held: ExitStack) -> optuna.Trial | None:
        with self.alone():
            trials = self.study.get_trials(deepcopy=False, states=(*ENDED, TrialState.RUNNING))
            self.study.sampler = self._sampler(len(trials))
            for left in trials[:count]:
                waits = left.state == TrialState.RUNNING and left.number not in self._taken
                if waits and not self._lives(left.number):
                    self._hold(left.number, held)
                    return optuna.Trial(self.study, left._trial_id)
            if len(trials) >= min(count, self._at_most):
                return None
            trial = self.study.ask({p.key: p.drawn for p in self.varied if p.drawn is not None})
            self._hold(trial.number, held)
            return trial

    def _hold(self, number: int, held: ExitStack) -> None:
        held.enter_context(locked(self._lock(number)))
        self._taken.add(number)

    def _sampler(self, seed: int) -> BaseSampler:
        """Make a sampler whose draws depend on the number of trials so far, and not on interruptions."""
        if self.sweep.method == "grid":
            return _Grid({p.key: p.grid or () for p in self.varied}, seed=0)
        return RandomSampler(seed=seed) if self.sweep.method == "random" else TPESampler(seed=seed)

    @property
    def _at_most(self) -> float:
        """The number of trials that there can be: Optuna would run the last ones of a grid twice, several at a time."""
        return math.prod(len(p.grid or ()) for p in self.varied) if self.sweep.method == "grid" else math.inf

    def _lock(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:03d}.lock"

    def _lives(self, number: int) -> bool:
        """Return True if a process holds the trial, or its run."""
        return is_locked(self._lock(number)) or is_locked(self.run(number).output)

    def _others_run(self, count: int) -> bool:
        """Return True if any of the first `count` trials runs, or waits to be resumed from here."""
        with self.alone():
            return any(t.number not in self._taken or self._lives(t.number) for t in self.left(count))

    def run(self, number: int) -> Run:
        """Return the run of a trial."""
        return Run(self.folder / "trials" / f"{number:03d}")

    def values(self, trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
        """Translate what was drawn for a trial into the values of all parameters."""
        return {p.key: p.value(trial.params.get(p.key)) for p in self.sweep.parameters}

    def planned(self, trial: optuna.Trial | FrozenTrial) -> PlannedRun:
        """Plan the run of a trial."""
        options = (*self.sweep.options, *self.overrides, *as_options(self.values(trial)))
        return PlannedRun(self.sweep.experiment, self.seed, options, self.run(trial.number))


def _address(file: Path) -> str:
    """Name a database as SQLAlchemy does, of which `?` and `%` in a path would be no part."""
    return f"sqlite:///file:{quote(str(file.absolute()))}?uri=true"


class _Grid(GridSampler):
    def after_trial(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: Optuna's own stops its loop after the last trial, and there is none here."""
