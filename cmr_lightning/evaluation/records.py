"""The record of a test run: everything that a report says about it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.protocols import Protocol
from cmr_lightning.files.json_file import parse_json, read_json
from cmr_lightning.files.whole_file import write_whole

_REMEDY = "run `test` again"


def _with_keys(*keys: str) -> AfterValidator:
    """Refuse a dictionary that is read and lacks one of the keys that reports look up."""

    def check(part: dict[str, Any]) -> dict[str, Any]:
        if missing := [key for key in keys if key not in part]:
            raise ValueError(f"it lacks {', '.join(missing)}")
        return part

    return AfterValidator(check)


def _named_gpus(hardware: dict[str, Any]) -> dict[str, Any]:
    gpus = hardware.get("gpus", [])
    if not isinstance(gpus, list) or not all(isinstance(gpu, str) for gpu in gpus):
        raise ValueError("its gpus are no list of names")
    return hardware


def _whole_epoch(selection: dict[str, Any]) -> dict[str, Any]:
    if type(selection.get("epoch", 0)) is not int:
        raise ValueError("its epoch is no whole number")
    return selection


def _figures_as_numbers(game: dict[str, Any]) -> dict[str, Any]:
    for name, value in game.items():
        if isinstance(value, str) and not name.endswith(("state", "mode", "setting")):
            raise ValueError(f"its figure {name} is no number")
    return game


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
        pictures: Number of pictures of the training, validation and test part; empty in records that predate it.
        regime: What of the training part was told: in `words` and a `seed`, with counts and a checksum, see
            `datamodules.reading.regime.Regime`; empty where all was.
        unknown_words: Share of words of validation and test texts that the model does not know, by part.
        peak_memory: Peak memory of training and test, see `memory.peak_memory`; empty in records that predate it.
        game: Whether the adversary acted at the time of the checkpoint: its `state` and the figures behind it, see
            `AdversarialDiagnostics`; empty in records that predate it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    experiment: str
    method: str
    dataset: str
    split: Annotated[dict[str, str], _with_keys("name", "checksum")]
    data_checksum: str
    protocol: str
    seed: int
    selection: Annotated[dict[str, Any], AfterValidator(_whole_epoch)]
    encoders: Annotated[dict[str, str | None], _with_keys("image", "text", "features")]
    versions: dict[str, str]
    git_revision: str | None
    hardware: Annotated[dict[str, Any], AfterValidator(_named_gpus)]
    metrics: dict[str, dict[str, float]]
    num_parameters: int
    wall_time: Annotated[dict[str, float], _with_keys("fit_s", "test_s")]
    created: str
    config: dict[str, Any]
    peak_memory: dict[str, int] = field(default_factory=dict)
    pictures: dict[str, int] = field(default_factory=dict)
    weights: str | None = None
    changes: list[dict[str, Any]] = field(default_factory=list)
    differences: dict[str, str] = field(default_factory=dict)
    regime: dict[str, int | str] = field(default_factory=dict)
    unknown_words: dict[str, float] = field(default_factory=dict)
    game: Annotated[dict[str, float | int | str | None], AfterValidator(_figures_as_numbers)] = field(
        default_factory=dict
    )

    def write(self, path: Path) -> None:
        """Write the record as JSON; an interrupted write leaves no broken file behind."""
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Record:
        """Read a record from its JSON file.

        Raises:
            UserError: The file is missing, is no JSON, or does not have the form of a record.
        """
        if not path.exists():
            raise UserError(f"There is no record {path}; `test` writes one.")
        return read_json(path, cls, _REMEDY)._checked(f"The record {path}")

    @classmethod
    def kept(cls, content: Mapping[str, Any], place: str) -> Record:
        """Make a record from what was kept of it in a `place`, without its config if that was left out.

        Raises:
            UserError: It is no record.
        """
        text = json.dumps({"config": {}, **content})
        return parse_json(text, cls, place, "keep the records again by `results`")._checked(place)

    def _checked(self, place: str) -> Record:
        """Return the record itself, if it has the numbers that tables show."""
        columns = Protocol.parse(self.protocol).columns
        lacking = [protocol for protocol, values in self.metrics.items() if set(columns) - values.keys()]
        main = [self.metrics.get(self.protocol, {}).get(column, math.nan) for column in columns]
        if lacking or not all(map(math.isfinite, main)):
            named = ", ".join(lacking) or self.protocol
            raise UserError(f"{place} lacks finite numbers {', '.join(columns)} of {named}; {_REMEDY}.")
        return self
