"""Records of runs in few bytes: a line for each row of a table, in which what its runs share stands once.

    {"runs": 2, "same": {"method": "DAML", "metrics": {"map": {"i2t": 0.5}}},
     "each": {"seed": [0, 1], "metrics": {"map": {"t2i": [0.4, 0.6]}}}}

Where a value of `each` is a list, it has one of every run; where it is a dictionary, so have the values in it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.json_file import parse_json

REMEDY = "keep the records again by `results`"


@dataclass(frozen=True)
class KeptRow:
    """The runs of a row.

    Attributes:
        runs: Number of runs.
        same: What all of them have.
        each: What they have each, in lists.
    """

    runs: int
    same: dict[str, Any]
    each: dict[str, Any]

    @classmethod
    def of(cls, contents: Sequence[Mapping[str, Any]]) -> "KeptRow":
        """Put runs together.

        Examples:
            >>> KeptRow.of([{"seed": 0, "score": {"a": 1, "b": 2}}, {"seed": 1, "score": {"a": 1, "b": 3}}])
            KeptRow(runs=2, same={'score': {'a': 1}}, each={'seed': [0, 1], 'score': {'b': [2, 3]}})
        """
        return cls(len(contents), *_together(contents))

    def line(self) -> str:
        """Write the row as a line of JSON."""
        return json.dumps(vars(self), ensure_ascii=False) + "\n"


def read_row(line: str, place: str) -> list[dict[str, Any]]:
    """Read the runs of a row from its line, which stands in a `place`.

    Raises:
        UserError: The line is no row.
    """
    row = parse_json(line, KeptRow, place, REMEDY)
    try:
        return [_apart(row.same, row.each, run) for run in range(row.runs)]
    except (IndexError, TypeError, AttributeError, KeyError) as error:
        raise UserError(f"{place} is damaged: its values are not those of {row.runs} runs; {REMEDY}.") from error


def _together(contents: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    same: dict[str, Any] = {}
    each: dict[str, Any] = {}
    for key in contents[0]:
        values = [content[key] for content in contents]
        if len({json.dumps(value) for value in values}) == 1:  # equal, and of one type
            same[key] = values[0]
        elif all(isinstance(value, dict) and value.keys() == values[0].keys() for value in values):
            same[key], each[key] = _together(values)  # `same` has the key though it may be empty: it keeps the order
        else:
            each[key] = values
    return same, each


def _apart(same: Mapping[str, Any], each: Mapping[str, Any], run: int) -> dict[str, Any]:
    own = {
        key: _apart(same.get(key, {}), value, run) if isinstance(value, dict) else value[run]
        for key, value in each.items()
    }
    return {**same, **own}
