"""Seconds that a run of `random` takes as a new interpreter and as a process of the pool, in turn.

python -m tests.benchmarks.pool
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.pool import execute, share
from cmr_lightning.runs.run import Run
from tests.building import ROOT

EXPERIMENT = ROOT / "experiments" / "shapes" / "random.yaml"
ROUNDS = 3


def seconds_in_pool(planned: PlannedRun) -> float:
    """Fit and test in a process that is forked from the server."""
    outcome = execute(planned, lambda: [planned.fit, planned.test], share(0, 1))
    assert outcome.error is None, outcome.error
    return outcome.seconds


def seconds_alone(planned: PlannedRun) -> float:
    command = [sys.executable, "-m", "cmr_lightning.runs.pool", *planned.fit, "--", *planned.test]
    started = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **share(0, 1)})
    return time.monotonic() - started


def main() -> None:
    ratios = []
    with TemporaryDirectory() as folder:
        runs = [PlannedRun(EXPERIMENT, n, (), Run(Path(folder, str(n)))) for n in range(2 * ROUNDS + 1)]
        print(f"the first run, for which the server starts: {seconds_in_pool(runs.pop()):.1f} s")
        while runs:
            alone, forked = seconds_alone(runs.pop()), seconds_in_pool(runs.pop())
            ratios.append(forked / alone)
            print(f"new interpreter {alone:5.1f} s   pool {forked:5.1f} s   time x {ratios[-1]:.3f}", flush=True)
    print(f"a run of the pool takes {median(ratios):.3f} times as long as a new interpreter")


if __name__ == "__main__":
    main()
