"""Batches that are read while the batches before them are used: in threads, or in processes."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import parent_process
from os import _exit
from threading import Thread
from typing import Any, TypeVar

import torch.multiprocessing

from cmr_lightning.errors import UserError

Whole = TypeVar("Whole")
Index = TypeVar("Index")

_DEPTH = 2
"""Batches that are read before they are asked for."""

_GRACE = 10
"""Seconds that a process goes on reading when a cluster tells all processes of a job to end."""

_read: Callable[[Any], Any]
"""What a process reads a batch with."""


def ahead(read: Callable[[Index], Whole], indices: Iterable[Index], processes: int = 0) -> Iterator[Whole]:
    """Batches in order, read before they are asked for.

    Threads do where reading is waiting for a disk. Decoding pictures is not: in threads it competes with the training
    for Python's lock, and both come to a crawl, so it takes processes of its own, each with a batch at a time.

    Args:
        read: Reads one batch; for processes that are not forked it must be possible to pickle it.
        indices: What to read, batch after batch.
        processes: Processes that read, each started anew; 0 for threads of this process.

    Raises:
        UserError: A process was lost; and whatever `read` raises, at its batch.
    """
    pool: Executor
    if processes:
        pool = ProcessPoolExecutor(processes, initializer=_begin, initargs=(read,))
        return _in_order(pool, _read_here, indices, processes + _DEPTH)
    return _in_order(ThreadPoolExecutor(_DEPTH, "batches"), read, indices, _DEPTH)


def _in_order(pool: Executor, read: Callable[[Index], Whole], indices: Iterable[Index], depth: int) -> Iterator[Whole]:
    waiting: deque[Future[Whole]] = deque()
    try:
        for index in indices:
            waiting.append(pool.submit(read, index))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise UserError(
            "A process that reads pictures was lost, killed perhaps for want of memory (batches wait in /dev/shm); set "
            "data.image.init_args.workers to fewer processes, or to 0 to read in the training process."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(read: Callable[[Any], Any]) -> None:
    """Make this process one that reads, and leaves signals to the process that it reads for."""
    global _read
    _read = read
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    torch.set_num_threads(1)
    Thread(target=_end_with_parent, daemon=True).start()


def _read_here(index: Any) -> Any:
    return _read(index)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    _exit(1)
