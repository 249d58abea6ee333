"""Batches that are read while the batches before them are used: in processes, or in threads."""

import os
import signal
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cmr_lightning.errors import UserError

Whole = TypeVar("Whole")
Index = TypeVar("Index")

_DEPTH = 2
"""Batches that threads, or each of the processes, read before they are asked for."""

_REMEDY = (
    "set data.image.init_args.workers to fewer processes, or to 0 to read in the training process; batches wait in "
    "/dev/shm, which must have room for two of each process"
)


class ReadingAhead(Generic[Index, Whole]):
    """Reads batches in order, before they are asked for.

    Threads suffice where reading is waiting for a disk. Decoding pictures competes with the training for Python's lock,
    so it takes processes of their own. They are started at the first batch and stay until this object goes.

    Args:
        read: Reads one batch, a tensor or a sequence of tensors; where processes are not forked it is pickled.
        processes: Processes that read, each a batch at a time; 0 for threads of this process.
    """

    def __init__(self, read: Callable[[Index], Whole], processes: int = 0) -> None:
        self._read = read
        self._processes = processes
        self._asked_for = _AskedFor()
        self._loader: list[DataLoader] = []
        # Collected in a circle with its queues, a loader waits five seconds for each of its processes: the queues are
        # closed first, and it cannot tell the processes to end. So it is kept outside of any circle.
        weakref.finalize(self, self._loader.clear)

    def __call__(self, indices: Iterable[Index]) -> Iterator[Whole]:
        """Read the batches of `indices`, which are taken from it no earlier than needed; one epoch at a time.

        Raises:
            UserError: If a process cannot be started or is lost, or /dev/shm is full; and what `read` raises.
        """
        return self._in_processes(indices) if self._processes else _in_threads(self._read, indices)

    def _in_processes(self, indices: Iterable[Index]) -> Iterator[Whole]:
        self._asked_for.indices = indices
        try:
            for batch in self._begin():
                if isinstance(batch, UserError):
                    raise batch
                yield batch
        except UserError:
            self._loader.clear()
            raise
        except RuntimeError as error:
            self._loader.clear()
            if "DataLoader worker (pid" in str(error) or "in pin memory thread" in str(error):
                raise UserError(
                    f"A process that reads pictures was lost, killed perhaps for want of memory; {_REMEDY}."
                ) from error.with_traceback(None)  # its frames hold on to the loader
            raise

    def _begin(self) -> Iterator[Any]:
        if not self._loader:
            loader = DataLoader(
                _Batches(self._read),
                batch_size=None,
                sampler=self._asked_for,
                num_workers=self._processes,
                prefetch_factor=_DEPTH,
                persistent_workers=True,
                pin_memory=torch.cuda.is_initialized(),  # a model on the CPU needs no CUDA context
                generator=torch.Generator(),  # else it draws from the training's
                worker_init_fn=_begin_process,
            )
            self._loader.append(loader)
        # torch's handler raises wherever the training happens to be; that a process was lost is found where its batch
        # is waited for as well.
        handler = signal.getsignal(signal.SIGCHLD)
        # A process must block SIGTERM from its first moment: what it collects of its parent's garbage, such as an older
        # loader, may start threads before `_begin_process`.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            batches = iter(self._loader[0])
        except OSError as error:
            raise UserError(f"A process that reads pictures could not be started ({error}); {_REMEDY}.") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            signal.signal(signal.SIGCHLD, handler)
        return batches


class _AskedFor:
    """The sampler of a loader: it keeps the one that it was made with, so what is asked for changes inside."""

    indices: Iterable[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.indices)


class _Batches(Dataset):
    """The data set of a loader: an index names a whole batch."""

    def __init__(self, read: Callable[[Any], Any]) -> None:
        self.read = read

    def __getitem__(self, index: Any) -> Any:
        try:
            batch = self.read(index)
        except UserError as error:  # raised here, it would come out with a traceback in its text
            return error
        try:  # the queue would do it, but where that fails in its thread nobody is told
            for tensor in (batch,) if isinstance(batch, Tensor) else batch:
                tensor.share_memory_()
        except RuntimeError as error:
            return UserError(f"There is no room in /dev/shm for batches of pictures ({error}); {_REMEDY}.")
        return batch


def _begin_process(worker: int) -> None:
    """Leave signals to the process that this one reads for: a cluster sends them to all processes of a job."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    Thread(target=_end_when_parent_says, daemon=True).start()


def _end_when_parent_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def _in_threads(read: Callable[[Index], Whole], indices: Iterable[Index]) -> Iterator[Whole]:
    # By hand: a `DataLoader` has processes only, and for rows of a file that costs more than it gains.
    pool = ThreadPoolExecutor(_DEPTH, "batches")
    waiting: deque[Future[Whole]] = deque()
    try:
        for index in indices:
            waiting.append(pool.submit(read, index))
            if len(waiting) > _DEPTH:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
