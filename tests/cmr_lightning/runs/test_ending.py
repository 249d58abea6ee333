"""Commands that start other processes, and are told to end: these end with them, and what they did is kept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cmr_lightning.files.file_lock import is_locked
from cmr_lightning.runs.run import Run
from tests.building import ROOT
from tests.cmr_lightning.benchmark.test_run_benchmark import write_benchmark
from tests.cmr_lightning.sweep.made import write_sweep


def benchmark(folder: Path) -> list[str]:
    path = write_benchmark(folder, seeds="[0]")
    path.write_text(path.read_text().replace("max_epochs: 1", "max_epochs: 10000"))
    return ["benchmark", f"--config={path}"]


def sweep(folder: Path) -> list[str]:
    options = ["--count=2", f"--folder={folder / 'swept'}", "--trainer.max_epochs=10000"]
    return ["sweep", f"--config={write_sweep(folder)}", *options]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "number", "said"),
    [
        (benchmark, signal.SIGTERM, "Stopped by SIGTERM. The same command continues."),
        (sweep, signal.SIGTERM, "Stopped by SIGTERM. toy: 0 of 2 trials are done; the same command continues."),
        (benchmark, signal.SIGINT, "Stopped by Ctrl-C. The same command continues."),
    ],
)
def test_what_a_command_started_ends_with_it(
    write: Callable[[Path], list[str]], number: signal.Signals, said: str, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "cmr_lightning", *write(tmp_path), "--jobs=2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # workers of tests ignore it
    )
    deadline = time.monotonic() + 120
    while len(runs := [Run(path.parents[1]) for path in tmp_path.rglob("last.ckpt")]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(number)
    errors = process.communicate(timeout=90)[1]
    assert process.returncode == 128 + number
    assert errors.endswith(f"\n{said}\n")
    assert "Traceback" not in errors
    for run in runs:
        assert not is_locked(run.output), "its process lives"
        assert "continue with --resume=true" in run.output.read_text()
