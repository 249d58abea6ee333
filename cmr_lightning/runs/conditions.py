"""The conditions of a result, and a place of its own for every result: none replaces one of other conditions."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.runs.comparison import without_places
from cmr_lightning.runs.run import Run

Conditions = dict[str, Any]
"""What a number depends on beside the code and the machine."""


def conditions_of(
    weights: str | None, split_checksum: str, data_checksum: str, config: Mapping[str, Any]
) -> Conditions:
    """Collect the conditions of a result, all of them plain values."""
    return {
        "weights": weights,
        "split": split_checksum,
        "data_checksum": data_checksum,
        "data": without_places(config),
        "precision": str((config.get("trainer") or {}).get("precision")),
    }


def conditions_of_record(record: Record) -> Conditions:
    """Collect the conditions of a record."""
    return conditions_of(record.weights, record.split["checksum"], record.data_checksum, record.config)


def record_of(run: Run) -> Record | None:
    """Read the record of a run; None if there is none, or it is damaged, so that the run is measured again."""
    try:
        return Record.read(run.record)
    except UserError:
        return None


def place_of_results(run: Run, conditions: Conditions, own: bool) -> Run:
    """Return the folder for the results of a run: its own, unless that has or waits for a result of other conditions.

    Args:
        run: The run.
        conditions: Those of the results.
        own: Whether it is the run's best checkpoint that is measured, under the run's settings.
    """
    record = record_of(run)
    there = None if record is None else conditions_of_record(record)
    if there == conditions or (there is None and own):
        return run
    return _folder(run, conditions)


def put_aside(run: Run) -> None:
    """Move the results of a run that is trained further to a folder of their own: its weights will be others."""
    if (record := record_of(run)) is None:
        return
    folder = _folder(run, conditions_of_record(record))
    folder.path.mkdir(parents=True, exist_ok=True)
    for path in (run.record, run.ranks, run.examples, run.gallery, run.embeddings):
        if path.exists():
            path.replace(folder.path / path.name)


def _folder(run: Run, conditions: Conditions) -> Run:
    digest = hashlib.sha256(json.dumps(conditions, sort_keys=True, default=str).encode()).hexdigest()
    return Run(run.others / digest[:8])
