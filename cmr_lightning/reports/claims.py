"""Published numbers, and which of them ours can be compared with.

A number in a paper is a claim: it was made with certain features, under a certain protocol, and is known from some
source. The files `experiments/claims/<data set>.yaml` say all of that; what a source leaves out is `not stated`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Record
from cmr_lightning.files.yaml_file import read_yaml

NOT_STATED = "not stated"
DIRECTIONS = ("i2t", "t2i", "mean")
COMPOSED = ("c2i",)
"""The directions of pairs, and the one of composed queries."""

STANDINGS = {
    "paper": "a table of the paper that proposed the method",
    "code": "official or public code, or what it prints",
    "second-hand": "a later table by others",
    "recalled": "from memory of the literature, not checked",
}
"""Where a number is known from."""

CLAIMS = Path("experiments/claims")


@dataclass(frozen=True)
class Claim:
    """One metric of one method, as published.

    Attributes:
        method: Name of the method; where this project has it, the name of its class.
        dataset: Class name of the data set.
        encoder: Encoders of images and texts as the source names them, or `not stated`.
        metric: Name of the metric as printed, such as `mAP` or `R@1`.
        protocol: Id of the protocol, or `not stated`.
        values: By direction, i2t, t2i and the printed mean (which need not be the mean of the two), or c2i: mAP from 0
            to 1, recall in percent.
        source: Paper or public repository.
        standing: One of `STANDINGS`.
        features: If the very same precomputed features are used here, their description as records have it: the name of
            an encoder alone fixes neither its weights nor its layer nor the preprocessing.
        note: Further information for the reader.
    """

    method: str
    dataset: str
    encoder: str
    metric: str
    protocol: str
    values: dict[str, float]
    source: str
    standing: str
    features: str | None = None
    note: str | None = None


def read_claims(folder: Path = CLAIMS) -> list[Claim]:
    """Read the claims of all YAML files in a folder.

    A file is a list of tables. A table has `rows`; its other keys are the defaults of its rows. A row's `values` are
    metrics as printed, each with its directions.

    Raises:
        UserError: There is no file, or an entry is not of that form; the message names file and entry.
    """
    claims = [claim for path in sorted(folder.glob("*.yaml")) for claim in _file(path)]
    if not claims:
        raise UserError(f"{folder} holds no claims; give the folder of files such as wikipedia.yaml.")
    return claims


def agreeing(claims: Sequence[Claim], record: Record) -> list[Claim]:
    """Select the claims with the conditions of a record: the same method, data set, protocol and features."""
    return [
        claim
        for claim in claims
        if (claim.method, claim.dataset) == (record.method, record.dataset)
        and claim.protocol in record.metrics
        and claim.features is not None
        and claim.features == record.encoders["features"]
    ]


def _file(path: Path) -> Iterator[Claim]:
    tables = read_yaml(path, "file of claims")
    if not isinstance(tables, list):
        raise UserError(f"{path} must be a list of tables with `rows`.")
    seen: set[tuple[str, ...]] = set()
    for t, table in enumerate(tables, start=1):
        if not isinstance(table, dict) or not isinstance(table.get("rows"), list):
            raise UserError(f"{path}, table {t}: it must have a list of `rows`.")
        for r, row in enumerate(table["rows"], start=1):
            entry = f"{path}, table {t}, row {r}"
            if not isinstance(row, dict):
                raise UserError(f"{entry}: it must have keys such as `method` and `values`.")
            entry += f" ({row.get('method', 'no method')})"
            for claim in _row({key: value for key, value in {**table, **row}.items() if key != "rows"}, entry):
                key = (claim.method, claim.dataset, claim.encoder, claim.metric, claim.protocol, claim.source)
                if key in seen:
                    raise UserError(f"{entry}: {claim.metric} was given before in this file.")
                seen.add(key)
                yield claim


def _row(row: dict[str, Any], entry: str) -> Iterator[Claim]:
    """Yield the claims of a row, one for each metric."""
    allowed = {field.name for field in fields(Claim)} - {"metric"}
    if missing := allowed - {"features", "note"} - row.keys():
        raise UserError(f"{entry}: {', '.join(sorted(missing))} missing; what the source leaves out is `{NOT_STATED}`.")
    if unknown := row.keys() - allowed:
        raise UserError(f"{entry}: unknown keys {', '.join(sorted(map(str, unknown)))}.")
    metrics = row["values"]
    for key, value in row.items():
        if key != "values" and not (isinstance(value, str) and value.strip()):
            raise UserError(f"{entry}: {key} must be text, not {value!r}.")
    if not isinstance(metrics, dict) or not metrics:
        raise UserError(f"{entry}: values must be metrics with their directions, such as {{mAP: {{i2t: 0.3}}}}.")
    if row["standing"] not in STANDINGS:
        raise UserError(f"{entry}: standing must be one of {', '.join(STANDINGS)}, not {row['standing']}.")
    _check_protocol(row["protocol"], len(metrics), entry)
    for metric, values in metrics.items():
        _check_values(metric, values, entry)
        yield Claim(**{**row, "metric": metric, "values": values})


def _check_protocol(protocol: str, metrics: int, entry: str) -> None:
    if protocol == NOT_STATED:
        return
    try:
        Protocol.parse(protocol)
    except UserError as error:
        raise UserError(f"{entry}: {error} A source that does not say it has the protocol `{NOT_STATED}`.") from error
    if metrics > 1:
        raise UserError(f"{entry}: {protocol} is the protocol of one metric, but there are {metrics}.")


def _check_values(metric: Any, values: Any, entry: str) -> None:
    known = (*DIRECTIONS, *COMPOSED)
    if not isinstance(values, dict) or not values or not values.keys() <= set(known):
        raise UserError(f"{entry}: {metric} must have values for some of {', '.join(known)}, and nothing else.")
    largest = 1 if str(metric).startswith("mAP") else 100
    for direction, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= largest:
            raise UserError(f"{entry}: {metric} {direction} must be a number from 0 to {largest}, not {value!r}.")
