"""The runs of a plan that are left to do: experiments are resolved once, seeds, splits and folders laid over them."""

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cmr_lightning.errors import UserError
from cmr_lightning.experiment import data_checksum, resolved_config
from cmr_lightning.runs.planned_run import Job, PlannedRun
from cmr_lightning.runs.pool import Outcome
from cmr_lightning.runs.progress import RunsProgress

Found = TypeVar("Found")


def find_jobs(plan: Sequence[PlannedRun]) -> tuple[list[Job], list[Outcome]]:
    """Separate the runs of a plan that are to be done from those that are finished or cannot be done.

    Examples:
        >>> from cmr_lightning.runs.run import Run
        >>> jobs, outcomes = find_jobs([PlannedRun(Path("nowhere.yaml"), 0, (), Run(Path("seed0")))])
        >>> len(jobs), [outcome.error is None for outcome in outcomes]
        (0, [False])
    """
    groups: dict[Any, list[PlannedRun]] = defaultdict(list)
    for planned in plan:
        groups[planned.experiment, planned.options, planned.row is None].append(planned)
    configs: dict[Path, dict[str, Any] | UserError] = {}
    with RunsProgress("settings", len(plan)) as progress:  # which take seconds for each experiment
        for runs in groups.values():
            configs.update(zip((planned.run.path for planned in runs), _resolve(runs), strict=True))
            progress.update(completed=len(configs))
    checksum = cache(lambda data: _attempt(data_checksum, json.loads(data)))  # once for all runs on the same data
    jobs: list[Job] = []
    outcomes: list[Outcome] = []
    for planned in plan:
        try:
            config = _or_raise(configs[planned.run.path])
            job = Job(planned, config, _or_raise(checksum(json.dumps(config["data"]))))
            if job.missing():
                jobs.append(job)
            else:
                outcomes.append(Outcome(planned, 0.0))
        except UserError as error:
            outcomes.append(Outcome(planned, 0.0, str(error)))
    return jobs, outcomes


def _resolve(runs: Sequence[PlannedRun]) -> Sequence[dict[str, Any] | UserError]:
    """Resolve the configs of runs that differ in seed, split, names and what is laid over them alone."""
    first = _attempt(resolved_config, replace(runs[0], laid=()).fit)
    plain = len(runs) == 1 and not runs[0].laid
    last = first if plain else _attempt(resolved_config, runs[-1].fit)
    if isinstance(first, UserError) and str(first) == str(last):
        return [first] * len(runs)
    # they differ if the experiment computes other settings from these
    if isinstance(first, dict) and runs[-1].lay_over(first) == last:
        return [run.lay_over(first) for run in runs]
    return [_attempt(resolved_config, run.fit) for run in runs]


def _attempt(function: Callable[[Any], Found], argument: Any) -> Found | UserError:
    """Call a function, and return the error of the user if there is one."""
    try:
        return function(argument)
    except UserError as error:
        return error


def _or_raise(found: Found | UserError) -> Found:
    if isinstance(found, UserError):
        raise found
    return found
