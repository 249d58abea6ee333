"""The record of a test run: everything that a report says about it."""

from __future__ import annotations

import json
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.whole_file import write_whole


@dataclass(frozen=True)
class Record:
    """The result of `test`, which writes it as JSON for reports to read.

    Attributes:
        experiment: Name of the experiment, as `wikipedia/acmr`.
        method: Class name of the method.
        dataset: Class name of the datamodule.
        split: Its `name` and `checksum`.
        protocol: Id of the main protocol.
        selection: How the weights were chosen: `monitor`, `mode`, `value`, `epoch`, `step`, or their other origin.
        encoders: Names of the `image` and `text` encoders and of the precomputed `features`, if any.
        git_revision: Revision of the code, with the suffix `-dirty` if files differ from it; None outside a checkout.
        hardware: The machine, see `provenance.hardware`.
        metrics: For each protocol id the values by direction, see `Measurement.metrics`.
        num_parameters: Parameters of the model, frozen ones included.
        wall_time: Seconds of `fit_s` and `test_s`.
        created: Date and time in UTC, ISO 8601.
        weights: What tells the weights from others, see `Trained.fingerprint`; None in records that predate it.
        changes: Settings that resuming has changed, each after how many `updates`, and their values before and after.
        differences: How those conditions were in the training that were others in the test.
        unknown_words: Share of words of validation and test texts that the model does not know, by part.
        peak_memory: Peak memory of training and test, see `memory.peak_memory`; empty in records that predate it.
    """

    experiment: str
    method: str
    dataset: str
    split: dict[str, str]
    data_checksum: str
    protocol: str
    seed: int
    selection: dict[str, Any]
    encoders: dict[str, str | None]
    versions: dict[str, str]
    git_revision: str | None
    hardware: dict[str, Any]
    metrics: dict[str, dict[str, float]]
    num_parameters: int
    wall_time: dict[str, float]
    created: str
    config: dict[str, Any]
    peak_memory: dict[str, int] = field(default_factory=dict)
    weights: str | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    differences: dict[str, str] = field(default_factory=dict)
    unknown_words: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the record as JSON; an interrupted write leaves no broken file behind."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record from its JSON file.

        Raises:
            UserError: The file is missing, is no JSON, or has other keys than those of a record.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"There is no record {path}; `test` writes one.") from None
        except ValueError as error:
            raise UserError(f"The record {path} is not valid JSON ({error}); run `test` again.") from error
        if not isinstance(content, dict):
            raise UserError(f"The record {path} holds no keys; run `test` again.")
        required = {key.name for key in fields(cls) if key.default_factory is key.default is MISSING}
        if missing := required - content.keys():
            raise UserError(f"The record {path} lacks {', '.join(sorted(missing))}; run `test` again.")
        if unknown := content.keys() - {key.name for key in fields(cls)}:
            raise UserError(f"The record {path} has unknown keys {', '.join(sorted(unknown))}; run `test` again.")
        return cls(**content)
