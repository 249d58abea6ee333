"""Running what is planned: each run in a process of its own, none twice, and a failure stops no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
import yaml
from joblib import cpu_count

from cmr_lightning.evaluation import Record
from cmr_lightning.files.file_lock import lock
from cmr_lightning.runs.planned_run import PlannedRun

_NOT_THE_EXPERIMENT = ("run_dir", "experiment")
_SECONDS_BETWEEN_QUESTIONS = 0.5
_SECONDS_TO_STOP = 60.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        planned: The run.
        seconds: How long it took, 0 if it had been finished before.
        error: Why it failed; None if it did not.
        stopped: Whether it was stopped before its end because somebody wanted that.
    """

    planned: PlannedRun
    seconds: float
    error: str | None = None
    stopped: bool = False


def missing_commands(planned: PlannedRun, config: dict[str, Any], data_checksum: str) -> list[list[str]]:
    """What must still be done for a run to have a record of this very config on these very data.

    Args:
        planned: The run.
        config: Its resolved config.
        data_checksum: Checksum of its data as they are now.

    Returns:
        Commands in their order; none if the run is finished.
    """
    run = planned.run
    if not run.started or _experiment(yaml.safe_load(run.config.read_text())) != _experiment(config):
        return [[*planned.fit, "--overwrite=true"], planned.test]
    if run.record.exists():
        return [] if Record.read(run.record).data_checksum == data_checksum else _anew(planned)
    if run.finished:
        return [planned.test]
    return [[*planned.fit, "--resume=true"], planned.test] if run.checkpoints() else _anew(planned)


def execute(
    planned: PlannedRun,
    missing: Callable[[], list[list[str]]],
    environment: dict[str, str],
    ends: Callable[[], bool] | None = None,
) -> Outcome:
    """Run what is missing in one new process, and wait for it.

    What the process says goes into `<run folder>.log`. While it lives it holds a lock on that file, so that a benchmark
    that was killed and started again, or another one, does not begin a run that still goes on: it waits for its end.

    Args:
        planned: The run.
        missing: Asked, once nobody else works on the run, for the commands that are left to do.
        environment: Environment variables of the process beside those of this one.
        ends: Asked now and then whether to stop the process before its end.
    """
    log = planned.run.path.with_name(planned.run.path.name + ".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        if not _locked_in_the_end(file, planned, ends):
            return Outcome(planned, 0.0, stopped=True)
        commands = missing()
        if not commands:
            return Outcome(planned, 0.0)
        file.truncate(0)
        return _run(planned, commands, environment, ends, file)


def _run(
    planned: PlannedRun,
    commands: list[list[str]],
    environment: dict[str, str],
    ends: Callable[[], bool] | None,
    log: BinaryIO,
) -> Outcome:
    start = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "cmr_lightning.runs.process", *_joined(commands)],
        env={**os.environ, **environment},
        stdout=log,
        stderr=subprocess.STDOUT,
        pass_fds=[log.fileno()],
        start_new_session=ends is not None,  # whoever asks is the one who passes Ctrl-C on
    ) as process:
        try:
            stopped = ends is not None and _stopped(process, ends)
            code = process.wait()
        except KeyboardInterrupt:  # a cluster may cancel a job by it, and tells this process alone
            process.send_signal(signal.SIGINT)
            raise
    seconds = time.monotonic() - start
    return Outcome(planned, seconds, None if code == 0 or stopped else _reason(Path(log.name), code), stopped)


def _stopped(process: subprocess.Popen, ends: Callable[[], bool]) -> bool:
    """Wait for a process, and stop it, as Ctrl-C does, as soon as somebody wants it to end; whether that was so."""
    while process.poll() is None:
        if ends():
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
            return process.wait() != 0
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_BETWEEN_QUESTIONS)
    return False


def share(place: int, jobs: int) -> dict[str, str]:
    """Environment of the runs at one of `jobs` places: their share of the cores, and one GPU where there are any.

    Others may work on this machine: where OMP_NUM_THREADS says fewer threads than the share, it is obeyed, and so is
    CUDA_VISIBLE_DEVICES.
    """
    environment = {"OMP_NUM_THREADS": str(max(1, min(torch.get_num_threads(), cpu_count() // jobs)))}
    gpus = _gpus()
    if jobs > 1 and gpus:
        environment["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
    return environment


def _gpus() -> list[str]:
    """The GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES gives them."""
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(gpu) for gpu in range(count)]
    names = [name.strip() for name in given.split(",")]
    if count > 0 and names[0].startswith("MIG-"):
        return names  # of which one process sees only the first
    return names[:count]


def _anew(planned: PlannedRun) -> list[list[str]]:
    return [[*planned.fit, "--overwrite=true"], planned.test]


def _experiment(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in _NOT_THE_EXPERIMENT}


def _joined(commands: list[list[str]]) -> list[str]:
    """Commands behind one another, with `--` between them."""
    words = [word for command in commands for word in (*command, "--")]
    return words[:-1]


def _locked_in_the_end(log: BinaryIO, planned: PlannedRun, ends: Callable[[], bool] | None) -> bool:
    """Lock a run's log, however long another process holds it; whether that was so before somebody wanted to stop."""
    if lock(log):
        return True
    print(f"{planned.name} waits, as another process still works on it (it holds {log.name}).", flush=True)
    while ends is None or not ends():
        time.sleep(_SECONDS_BETWEEN_QUESTIONS)
        if lock(log):
            return True
    return False


def _reason(log: Path, code: int) -> str:
    """The sentence that a process left before it ended with an error."""
    said = log.read_text(encoding="utf-8", errors="replace").splitlines()
    errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
    if errors:
        return errors[-1]
    last = next((line for line in reversed(said) if line.strip()), "it said nothing")
    return f"exit code {code}: {last} (see {log})"
