"""The server that processes of runs are forked from: it has imported everything, which takes longer than a small run.

It is the standard library's. It must neither start threads nor touch a GPU, as neither survives a fork. This file
imports nothing that takes long, so a command can start the server first, and both import at the same time.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, reduction, resource_tracker
from multiprocessing.context import ForkServerProcess
from threading import Lock
from typing import Any

from cmr_lightning.errors import UserError

CONTEXT = multiprocessing.get_context("forkserver")
SHIELDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
LOCK = Lock()  # multiprocessing looks after all processes whenever it starts one, from whichever thread

_PRELOADED = ["cmr_lightning.cli", "cmr_lightning.runs.pool"]
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # OpenBLAS starts no threads
    "JE_ARROW_MALLOC_CONF": "background_thread:false",  # nor does Arrow, which libraries import where it is installed
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # a library that asks for GPUs when it is imported does not touch them
}


def start_server() -> None:
    """Start the server if it does not run yet, without waiting until it has imported everything."""
    with LOCK, _shielded():
        forkserver.ensure_running()
    atexit.register(_stop_unused_server)


def _stop_unused_server() -> None:
    # it would hold the output open until it has imported everything
    number = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if number is not None and not multiprocessing.active_children():
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)


def start_process(target: Callable[[], None]) -> ForkServerProcess:
    """Start a process that calls a function, which must undo the shield: `restore_signals`.

    Raises:
        UserError: If the server ends instead.
    """
    process = CONTEXT.Process(target=target)
    try:
        with LOCK, _shielded():  # the server is started here if there is none, or it was killed
            process.start()
    except EOFError:
        raise UserError("The server that starts the runs has ended; see what it printed above.") from None
    return process


def restore_signals() -> None:
    """Let a process that the server has forked receive signals, and end by Ctrl-C even as a shell's background job."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SHIELDED)


@contextmanager
def _shielded() -> Iterator[None]:
    """Let a server that is started here ignore the signals of its process group, and start no threads."""
    before = {key: os.environ.get(key) for key in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    resource_tracker.ensure_running()  # which would otherwise lift the shield
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SHIELDED)
    try:
        CONTEXT.set_forkserver_preload(_PRELOADED)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for key, value in before.items():
            os.environ.pop(key)
            if value is not None:
                os.environ[key] = value


class SharedFile:
    """A file descriptor to hand to a process with the lock on its file, which lasts until no process has it open."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __reduce__(self) -> tuple[Callable[[Any], SharedFile], tuple[Any]]:
        return SharedFile._received, (reduction.DupFd(self.descriptor),)

    @classmethod
    def _received(cls, duplicate: Any) -> SharedFile:
        return cls(duplicate.detach())
