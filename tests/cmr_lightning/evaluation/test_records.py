import dataclasses
import json
import math
import subprocess
import sys

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.records import Record
from tests.cmr_lightning.reports.made_runs import MAP, RECORD

SCORES = {"i2t": 0.5, "t2i": 0.7, "mean": 0.6}
MEASURED = dataclasses.replace(RECORD, metrics={MAP: SCORES})
CONTENT = dataclasses.asdict(MEASURED)


def test_records_come_back_and_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "run" / "record.json"
    MEASURED.write(path)
    with pytest.raises(TypeError):
        dataclasses.replace(MEASURED, config={"model": object()}).write(path)
    assert Record.read(path) == MEASURED
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_records_from_before_memory_was_measured_and_pictures_were_counted_are_read(tmp_path):
    path = tmp_path / "record.json"
    path.write_text(json.dumps({key: CONTENT[key] for key in CONTENT.keys() - {"peak_memory", "pictures"}}))
    assert Record.read(path) == dataclasses.replace(MEASURED, pictures={})
    assert RECORD.peak_memory == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "There is no record"),
        ("{", "damaged: Invalid JSON"),
        ("", "damaged: Invalid JSON"),
        ("[]", "should be an object"),
        ("[" * 100_000, "recursion"),
        (
            json.dumps({key: CONTENT[key] for key in CONTENT.keys() - {"seed", "created"}}),
            "seed: Field required, and 1",
        ),
        (json.dumps({**CONTENT, "sede": 1}), "sede: Unexpected keyword"),
        (json.dumps({**CONTENT, "seed": "0"}), "seed: Input should be a valid integer"),
        (json.dumps({**CONTENT, "split": {"name": "a"}}), "split: it lacks checksum"),
        (json.dumps({**CONTENT, "selection": {"epoch": "last"}}), "selection: its epoch is no whole number"),
        (json.dumps({**CONTENT, "hardware": {"gpus": "H100"}}), "hardware: its gpus are no list"),
        (json.dumps({**CONTENT, "game": {"state": "idle", "items": "many"}}), "game: its figure items is no number"),
        (json.dumps({**CONTENT, "protocol": "mAP"}), "Unknown protocol 'mAP'"),
        (json.dumps({**CONTENT, "metrics": {MAP: {**SCORES, "mean": math.nan}}}), "lacks finite numbers .* of map@all"),
        (json.dumps({**CONTENT, "metrics": {MAP: SCORES, "map@5-total/cos/label": {}}}), "of map@5-total/cos/label"),
        (json.dumps({**CONTENT, "metrics": {}}), "lacks finite numbers i2t, t2i, mean of map@all/cos/label"),
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
