"""A sample of odd inputs; `python -m tests.fuzz` draws many more."""

from pathlib import Path

import pytest

from tests.fuzz.__main__ import fuzz
from tests.fuzz.kinds import KINDS
from tests.fuzz.outcomes import table


@pytest.mark.exhaustive
@pytest.mark.usefixtures("no_pictures")
def test_no_odd_input_ends_in_a_traceback_or_in_a_wrong_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cases = fuzz(8 * len(KINDS), seed=0, folder=tmp_path)
    assert {case.kind for case in cases if case.outcome == "refused"} >= {"config", "setting", "table", "store"}
    assert not any(case.bad for case in cases), "\n".join(table(cases))
