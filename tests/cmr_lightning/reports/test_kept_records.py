"""What runs share stands once, and nothing is lost."""

import json
from typing import Any

import pytest

from cmr_lightning.reports.kept_records import KeptRow, read_row

CASES: dict[str, list[dict[str, Any]]] = {
    "one run": [{"a": {"b": 1, "c": {}}, "d": [1, 2]}],
    "nothing shared": [{"a": 1, "b": {"c": 2}}, {"a": 3, "b": {"c": 4}}],
    "all shared": [{"a": 1, "b": {"c": None}}] * 3,
    "dictionaries of other keys": [{"a": {"b": 1}}, {"a": {"c": 1}}, {"a": {}}],
    "types that are equal": [{"a": 1}, {"a": 1.0}, {"a": True}],
    "lists": [{"a": [1, 2], "b": [3]}, {"a": [1, 2], "b": []}],
    "deep": [{"m": {"p": {"x": 0.5, "y": n}, "q": {"x": 1}}, "s": n} for n in range(4)],
}


@pytest.mark.parametrize("runs", CASES.values(), ids=CASES)
def test_runs_come_back_as_they_were(runs: list[dict[str, Any]]) -> None:
    back = read_row(KeptRow.of(runs).line(), "here")
    assert json.dumps(back, sort_keys=True) == json.dumps(runs, sort_keys=True)


def test_what_is_shared_stands_once_and_keeps_its_order() -> None:
    row = KeptRow.of(CASES["deep"])
    assert row.same == {"m": {"p": {"x": 0.5}, "q": {"x": 1}}}
    assert row.each == {"m": {"p": {"y": [0, 1, 2, 3]}}, "s": [0, 1, 2, 3]}
    swapped = [{"m": {"p": {"x": n}, "q": {"x": 1}}} for n in range(2)]
    assert list(read_row(KeptRow.of(swapped).line(), "here")[0]["m"]) == ["p", "q"]
