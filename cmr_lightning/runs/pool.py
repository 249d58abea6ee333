"""Running what is planned, side by side: each run in a process of its own, none twice, and a failure stops no other."""

import atexit
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import groupby
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any, BinaryIO, TypeVar

import torch
from joblib import cpu_count
from threadpoolctl import threadpool_limits

from cmr_lightning.__main__ import main
from cmr_lightning.files.file_lock import lock
from cmr_lightning.runs.fork_server import CONTEXT, LOCK, SharedFile, restore_signals, start_process
from cmr_lightning.runs.planned_run import PlannedRun
from cmr_lightning.runs.progress import STARTING, PhaseReporter, Tell

_SECONDS_BETWEEN_CHECKS = 0.5
_SECONDS_TO_STOP = 60.0

Commands = list[list[str]]
Ends = Callable[[], bool]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        seconds: How long it took; 0 if it had been finished before.
        error: Why it failed; None if it did not.
        stopped: True if it was told to end before it was finished.
    """

    planned: PlannedRun
    seconds: float
    error: str | None = None
    stopped: bool = False


# Side by side --------------------------------------------------------------------------------------------------------


def side_by_side(jobs: int, work: Callable[[dict[str, str], Event], Iterable[Result]]) -> Generator[Result, None, None]:
    """Work in several threads, and yield what they find as they find it.

    Args:
        jobs: Number of threads.
        work: Called once in each with the environment variables of its runs (`share`), and an event that is set when
            the generator is closed and no other run is to be started.
    """
    stopping = Event()
    results: SimpleQueue[Result | None] = SimpleQueue()

    def worker(place: int) -> None:
        try:
            for result in work(share(place, jobs), stopping):
                results.put(result)
        finally:
            results.put(None)

    with ThreadPoolExecutor(jobs) as threads:
        workers = [threads.submit(worker, place) for place in range(jobs)]
        try:
            for _ in workers:
                yield from iter(results.get, None)
        finally:
            stopping.set()
    for ended in workers:
        ended.result()


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
    """Name the GPUs that this process may use as CUDA_VISIBLE_DEVICES does."""
    count = torch.cuda.device_count()
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return [str(gpu) for gpu in range(count)]
    names = [name.strip() for name in given.split(",")]
    if count > 0 and names[0].startswith("MIG-"):
        return names  # of which one process sees only the first
    return names[:count]


# One run -------------------------------------------------------------------------------------------------------------


def execute(
    planned: PlannedRun,
    missing: Callable[[], Commands],
    environment: dict[str, str],
    ends: Ends | None = None,
    tell: Tell = lambda name, phase: None,
) -> Outcome:
    """Run what is missing in one new process, and wait for it.

    What the process prints goes into `<run folder>.log`. While it lives it holds a lock on that file, so that a
    benchmark that was killed and started again, or another one, waits for its end instead of running it twice.

    Args:
        planned: The run.
        missing: Called, once nobody else works on the run, for the commands that are left to do.
        environment: Its environment variables in addition to those of this process.
        ends: Called now and then; the process is stopped as soon as it returns true.
        tell: Called with the run's name and the phase that it is in, and with None at its end.
    """
    log = planned.run.output
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        if not _lock_log(file, planned, ends):
            return Outcome(planned, 0.0, stopped=True)
        commands = missing()
        if not commands:
            return Outcome(planned, 0.0)
        file.truncate(0)
        start = time.monotonic()
        tell(planned.name, STARTING)
        try:
            code, stopped = _run(commands, environment, file, ends, lambda phase: tell(planned.name, phase))
        finally:
            tell(planned.name, None)
    seconds = time.monotonic() - start
    return Outcome(planned, seconds, None if code == 0 or stopped else _reason(log, code), stopped)


def _lock_log(log: BinaryIO, planned: PlannedRun, ends: Ends | None) -> bool:
    """Lock a run's log as soon as no other process holds it; false if the run is to be stopped before."""
    if lock(log):
        return True
    print(f"{planned.name} waits, as another process still works on it (it holds {log.name}).", flush=True)
    while not (ends and ends()):
        time.sleep(_SECONDS_BETWEEN_CHECKS)
        if lock(log):
            return True
    return False


def _run(
    commands: Commands, environment: dict[str, str], log: BinaryIO, ends: Ends | None, tell: Callable[[str], None]
) -> tuple[int, bool]:
    """Run commands in a new process; return its exit code, and whether it was stopped before its end."""
    phases, listener = CONTEXT.Pipe(duplex=False)
    threads = int(environment.get("OMP_NUM_THREADS") or torch.get_num_threads())
    own_session = ends is not None  # whoever asks `ends` is the one who passes Ctrl-C on
    shared = SharedFile(log.fileno())
    work = partial(_work, commands, {**os.environ, **environment}, threads, shared, listener, own_session)
    with listener:
        process = start_process(work)
    with phases:
        try:
            stopped = _watch(process, phases, ends or (lambda: False), tell)
        except KeyboardInterrupt:  # a cluster may cancel a job by it, and tells this process alone
            _signal(process, signal.SIGINT)
            raise
    with LOCK:
        code = process.exitcode
    return (code or 0), stopped and code != 0


def _watch(process: ForkServerProcess, phases: Connection, ends: Ends, tell: Callable[[str], None]) -> bool:
    """Wait for the end of a process; true if it was stopped, as Ctrl-C does."""
    sources: list[Any] = [process.sentinel, phases]
    while process.sentinel not in (ready := wait(sources, _SECONDS_BETWEEN_CHECKS)):
        if phases in ready:
            try:
                tell(phases.recv())
            except EOFError:
                sources.remove(phases)
        if ends():
            _signal(process, signal.SIGINT)
            if not wait([process.sentinel], _SECONDS_TO_STOP):
                _signal(process, signal.SIGKILL)
                wait([process.sentinel])
            return True
    return False


def _signal(process: ForkServerProcess, number: signal.Signals) -> None:
    if process.pid is not None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _reason(log: Path, code: int) -> str:
    """Find the sentence that a process left before it ended with an error."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    if errors := [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]:
        return errors[-1]
    last = next((line for line in reversed(lines) if line.strip()), "it printed nothing")
    return f"exit code {code}: {last} (see {log})"


# In the process -----------------------------------------------------------------------------------------------------


def _work(
    commands: Commands, environment: dict[str, str], threads: int, log: SharedFile, listener: Connection, session: bool
) -> None:
    """Make this process like one that was started by hand, run commands, and exit with their code."""
    if session:
        os.setsid()
    os.dup2(log.descriptor, sys.stdout.fileno())
    os.dup2(log.descriptor, sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(threads)  # the libraries read OMP_NUM_THREADS when the server imported them
    threadpool_limits(threads)
    multiprocessing.set_start_method(None, force=True)  # else loaders' workers would be started as runs are
    # what Lightning starts the other processes of a group by
    sys.modules["__main__"].__spec__ = find_spec(__name__)
    words = [word for command in commands for word in (*command, "--")]
    sys.argv = [__file__, *words[:-1]]
    PhaseReporter.listener = listener
    restore_signals()
    try:
        sys.exit(run_commands(commands))
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out


def run_commands(commands: Iterable[list[str]]) -> int:
    """Run commands one after the other, until one fails; return its exit code, else 0."""
    for command in commands:
        PhaseReporter.report(command[0])
        if code := main(command):
            return code
    return 0


if __name__ == "__main__":
    sys.exit(run_commands(list(words) for separator, words in groupby(sys.argv[1:], "--".__eq__) if not separator))
