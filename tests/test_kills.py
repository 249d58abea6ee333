"""Commands that are killed, or begun twice at once, leave what an undisturbed one does; `kills.py` has all of them."""

import os
import subprocess
import sys

import pytest

from tests.building import ROOT


@pytest.mark.exhaustive
@pytest.mark.slow
def test_nothing_is_lost_doubled_or_mixed() -> None:
    command = [sys.executable, "-m", "tests.kills", "--kills=4", "--only", "test", "extract"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert done.stdout.count("no difference") == 2
