"""The runs of a plan that are left to do: experiments are resolved once, seeds, splits and folders laid over them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.experiment import data_checksum, resolved_config
from cmr_lightning.runs.planned_run import Job, PlannedRun
from cmr_lightning.runs.pool import Outcome


def find_jobs(plan: Sequence[PlannedRun]) -> tuple[list[Job], list[Outcome]]:
    """Separate the runs of a plan that are to be done from those that are finished or cannot be done."""
    configs = _resolve_all(plan)
    checksums: dict[str, str | UserError] = {}
    jobs: list[Job] = []
    outcomes: list[Outcome] = []
    for planned in plan:
        try:
            config = _or_raise(configs[planned.run.path])
            job = Job(planned, config, _data_checksum(config["data"], checksums))
            if job.missing():
                jobs.append(job)
            else:
                outcomes.append(Outcome(planned, 0.0))
        except UserError as error:
            outcomes.append(Outcome(planned, 0.0, str(error)))
    return jobs, outcomes


def _resolve_all(plan: Sequence[PlannedRun]) -> dict[Path, dict[str, Any] | UserError]:
    """Resolve the configs of all runs, by their folders; errors stand in the places of configs."""
    groups: dict[Any, list[PlannedRun]] = defaultdict(list)
    for planned in plan:
        groups[planned.experiment, planned.options, planned.variant].append(planned)
    return {
        planned.run.path: config
        for group in groups.values()
        for planned, config in zip(group, _resolve_group(group), strict=True)
    }


def _resolve_group(runs: Sequence[PlannedRun]) -> Sequence[dict[str, Any] | UserError]:
    """Resolve the configs of runs that differ in seed, split and folder alone."""
    first = _resolve(runs[0])
    if len(runs) == 1:
        return [first]
    last = _resolve(runs[-1])
    if isinstance(first, UserError) and str(first) == str(last):
        return [first] * len(runs)
    # unless the experiment computes other settings from these three
    if isinstance(first, dict) and runs[-1].lay_over(first) == last:
        return [run.lay_over(first) for run in runs]
    return [_resolve(run) for run in runs]


def _resolve(planned: PlannedRun) -> dict[str, Any] | UserError:
    try:
        return resolved_config(planned.fit)
    except UserError as error:
        return error


def _data_checksum(data: dict[str, Any], known: dict[str, str | UserError]) -> str:
    """Compute the checksum of the data that a config names, once for each."""
    key = json.dumps(data)
    if key not in known:
        try:
            known[key] = data_checksum(data)
        except UserError as error:
            known[key] = error
    return _or_raise(known[key])


def _or_raise(found: Any) -> Any:
    if isinstance(found, UserError):
        raise found
    return found
