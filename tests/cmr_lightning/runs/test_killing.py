"""A run that is killed and resumed ends as if nothing had happened; `killing.py` does it as often as one likes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.building import ROOT


@pytest.mark.slow
def test_killed_three_times_equals_undisturbed(tmp_path: Path) -> None:
    """Weights bit for bit, optimizers, loops, every row of the metrics file, the best score."""
    command = [sys.executable, "-m", "tests.cmr_lightning.runs.killing", str(tmp_path / "runs"), "3"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "differs in: nothing" in done.stdout
