"""`sweep`: the best settings of an experiment, searched for as a W&B sweep file says, on this machine."""

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import mean
from threading import Event
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from cmr_lightning.errors import UserError
from cmr_lightning.experiment import resolved_config, scores_in_validation
from cmr_lightning.files.names import check_path
from cmr_lightning.runs.planned_run import without_names
from cmr_lightning.runs.pool import side_by_side
from cmr_lightning.runs.progress import RunsProgress, Tell
from cmr_lightning.runs.run_of_command import experiment_name
from cmr_lightning.runs.settings import as_option, as_options, look_up
from cmr_lightning.sweep.file import SweepFile
from cmr_lightning.sweep.parameters import Parameter
from cmr_lightning.sweep.pictures import save_pictures
from cmr_lightning.sweep.running import Ended, run_trial
from cmr_lightning.sweep.trials import Trials
from cmr_lightning.sweep.winner import write_winner

_FAILURES_TO_GIVE_UP = 3
_AGAIN = "once the reason is gone, the same command tries them again"


def run_sweep(sweep: SweepFile, folder: Path, count: int, jobs: int = 1, overrides: Sequence[str] = ()) -> Path:
    """Run a sweep until it has a number of trials, show what was found, and return the winning experiment.

    Args:
        sweep: The sweep file.
        folder: Where everything is kept.
        count: Trials in all, finished ones included.
        jobs: Trials at the same time.
        overrides: Options of all trials.

    Raises:
        UserError: If a key of the file is not one of the experiment, or no trial succeeded.
    """
    check_path(sweep.path, "--config")
    if {"?", "%"} & set(str(folder)):  # the database is named by a URL
        raise UserError(f"--folder is {folder}, but a sweep cannot be kept below a name with ? or %; give another.")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    config = check(sweep, overrides)
    committed = {parameter.key: look_up(config, parameter.key) for parameter in sweep.parameters}
    trials = Trials(sweep, folder, overrides, config["seed_everything"])
    missing = trials.begin(_description(sweep, config), committed)
    name, done = experiment_name([sweep.experiment]), len(trials.ended(count))
    aim = f"{sweep.metric}, {'larger' if sweep.maximize else 'smaller'} is better"
    print(f"{name}: {count} trials ({sweep.method}, {aim}), {done} are done; in {folder}.", flush=True)
    if missing is not None:
        print(f"The experiment as it is written is not among them: {missing}.", flush=True)
    try:
        _watch(trials, count, jobs)
    except KeyboardInterrupt as stop:
        stop.add_note(f"{name}: {len(trials.ended(count))} of {count} trials are done; the same command continues.")
        raise
    return _conclude(trials, count, committed)


# Checks --------------------------------------------------------------------------------------------------------------


def check(sweep: SweepFile, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Check, without training, that the experiment takes all keys and values; return its config as it is written.

    Raises:
        UserError: If it does not, or the metric is not one that it logs.
    """
    fit = ["fit", f"--config={sweep.experiment}", *sweep.options, *overrides]
    written = resolved_config(fit)
    examples = {parameter.key: _examples(parameter) for parameter in sweep.parameters}
    for row in range(max(map(len, examples.values()))):
        chosen = {key: values[row % len(values)] for key, values in examples.items()}
        resolved_config([*fit, *as_options(chosen)])
    logged = scores_in_validation(written["data"])
    if sweep.metric not in logged:
        raise UserError(f"{sweep.path}: the metric {sweep.metric} is never logged; what is: {', '.join(logged)}.")
    return written


def _examples(parameter: Parameter) -> list[Any]:
    """List every value of a list, both ends of a range."""
    drawn: Any = parameter.drawn
    if drawn is None:
        return [parameter.value(None)]
    ends = drawn.choices if isinstance(drawn, CategoricalDistribution) else (drawn.low, drawn.high)
    return [parameter.value(end) for end in ends]


def _description(sweep: SweepFile, config: Mapping[str, Any]) -> dict[str, str]:
    """Describe, by name, what makes trials of one sweep comparable."""
    return {
        **{key: as_option(value) for key, value in _flat(without_names(config))},
        **{f"parameters.{p.key}": f"{p.drawn} {_examples(p)}" for p in sweep.parameters},
        "method": sweep.method,
        "metric": f"{sweep.metric}, {'maximize' if sweep.maximize else 'minimize'}",
        "early_terminate": str(sweep.early_terminate),
    }


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# Running -------------------------------------------------------------------------------------------------------------


def _watch(trials: Trials, count: int, jobs: int) -> None:
    """Run what is left, and print after each trial how it ended, what is best so far and what remains."""
    start, before, failed = time.monotonic(), len(trials.ended(count)), 0
    with RunsProgress("sweep", count, before) as progress, closing(_run(trials, count, jobs, progress.tell)) as ends:
        for ended in ends:
            failed += ended.state == TrialState.FAIL
            done, best = len(trials.ended(count)), trials.best(count)
            tried = done + failed
            remaining = (time.monotonic() - start) / max(1, tried - before) * max(0, count - tried)
            so_far = "nothing yet" if best is None else f"{best.value:.4f} (trial {best.number})"
            progress.update(completed=done, description=f"sweep, best {so_far}")
            progress.print(f"[{done}/{count}] {_line(ended)}; best {so_far}, {remaining / 60:.0f} min remain")
            if failed >= _FAILURES_TO_GIVE_UP and not done:
                raise UserError(f"All {failed} trials failed; {_AGAIN}. The last one failed because: {ended.error}")


def _run(trials: Trials, count: int, jobs: int, tell: Tell) -> Generator[Ended, None, None]:
    """Yield trials as they end, `jobs` at the same time."""

    def work(environment: dict[str, str], stopping: Event) -> Iterator[Ended]:
        while not stopping.is_set():
            with trials.next(count, stopping) as trial:
                if trial is None:
                    return
                yield run_trial(trials, trial, environment, stopping, tell)

    return side_by_side(jobs, work)


def _line(ended: Ended) -> str:
    if ended.state == TrialState.FAIL:
        return f"trial {ended.number} failed: {ended.error}"
    score = "nothing" if ended.score is None else f"{ended.score:.4f}"
    how = f", ended early after {ended.measured} measurements" if ended.state == TrialState.PRUNED else ""
    time_taken = ", in part not measured" if ended.seconds is None else f" in {ended.seconds:.0f} s"
    return f"trial {ended.number}: {score}{time_taken}{how}"


# Results -------------------------------------------------------------------------------------------------------------


def _conclude(trials: Trials, count: int, committed: Mapping[str, Any]) -> Path:
    """Print the best values and what pruning saved, and write the winning experiment and the pictures."""
    best = trials.best(count)
    if best is None:
        reasons = {trial.user_attrs.get("error") for trial in trials.left(count)}
        raise UserError(f"No trial succeeded; {_AGAIN}: {'; '.join(sorted(filter(None, reasons)))}")
    Console().print(_table(trials, count, best, committed))
    if trials.sweep.early_terminate is not None:
        print(saved_by_pruning(trials.ended(count)))
    if failed := [f"trial {trial.number}" for trial in trials.left(count)]:
        print(f"Failed and not counted: {', '.join(failed)}; {_AGAIN}.")
    with trials.alone():
        winner = write_winner(trials, count, best)
        pictures = save_pictures(trials.study, trials.sweep.metric, trials.folder)
    print(f"Wrote {', '.join(map(str, pictures))}.")
    print(f"Next: {winner.read_text().splitlines()[0].removeprefix('# ')}")
    return winner


def _table(trials: Trials, count: int, best: FrozenTrial, committed: Mapping[str, Any]) -> Table:
    first = next((trial for trial in trials.ended(count) if trial.number == 0), None)
    written = first is not None and "fixed_params" in first.system_attrs and first.value is not None
    table = Table(title=f"{trials.sweep.metric}: {best.value:.4f}, the best of {len(trials.ended(count))} trials")
    table.add_column("parameter")
    table.add_column(f"best (trial {best.number})", justify="right")
    table.add_column("as written", justify="right")
    for key, value in trials.values(best).items():
        table.add_row(key, as_option(value), as_option(committed[key]))
    table.add_row("score", f"{best.value:.4f}", f"{first.value:.4f}" if written and first else "", style="bold")
    return table


def saved_by_pruning(ended: Sequence[FrozenTrial]) -> str:
    """Describe the time that early termination saved, if pruned trials had taken as long as complete ones on average.

    Trials that were not watched all the time are left out of the times.
    """
    pruned, complete = (
        [t.user_attrs["seconds"] for t in ended if t.state == state and t.user_attrs["seconds"] is not None]
        for state in (TrialState.PRUNED, TrialState.COMPLETE)
    )
    early = sum(trial.state == TrialState.PRUNED for trial in ended)
    line = f"Pruning ended {early} of {len(ended)} trials early"
    if not pruned or not complete:
        return f"{line}."
    saved = sum(max(0.0, mean(complete) - of) for of in pruned)
    return (
        f"{line}, after {mean(pruned):.0f} s instead of {mean(complete):.0f} s on average: "
        f"{saved:.0f} s saved beside {sum(pruned) + sum(complete):.0f} s spent."
    )
