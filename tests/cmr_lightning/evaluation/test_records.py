import dataclasses
import json
import subprocess
import sys

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.records import Record
from tests.cmr_lightning.reports.made_runs import RECORD

CONTENT = dataclasses.asdict(RECORD)


def test_records_come_back_and_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "run" / "record.json"
    RECORD.write(path)
    with pytest.raises(TypeError):
        dataclasses.replace(RECORD, config={"model": object()}).write(path)
    assert Record.read(path) == RECORD
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_records_from_before_memory_was_measured_are_read(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({key: value for key, value in CONTENT.items() if key != "peak_memory"}))
    assert Record.read(path) == RECORD
    assert RECORD.peak_memory == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "There is no record"),
        ("{", "not valid JSON"),
        ("[]", "holds no keys"),
        (json.dumps({key: CONTENT[key] for key in CONTENT.keys() - {"seed", "metrics"}}), "lacks metrics, seed"),
        (json.dumps({**CONTENT, "sede": 1}), "has unknown keys sede"),
    ],
)
def test_other_files_are_no_records(tmp_path, text, problem):
    path = tmp_path / "record.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=problem):
        Record.read(path)


def test_reports_do_not_wait_for_torch():
    code = (
        "import sys; from cmr_lightning.evaluation import Record, Protocol, CLASS_LEVEL; "
        "from cmr_lightning.runs.provenance import versions; versions(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
