import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.reading.reading_ahead import ReadingAhead
from tests.building import ROOT

WAYS = pytest.mark.parametrize("processes", [0, 2], ids=["threads", "processes"])


def tenfold(number: int) -> torch.Tensor:
    return torch.tensor([number * 10])


def faulty(number: int) -> torch.Tensor:
    if number == 2:
        raise UserError("batch 2")
    return tenfold(number)


def wrong(number: int) -> torch.Tensor:
    raise RuntimeError("see def wrong")


def lost(number: int) -> torch.Tensor:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return tenfold(number)


def told_to_end(number: int) -> torch.Tensor:
    for name in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        os.kill(os.getpid(), name)
    return tenfold(number)


def own_id(number: int) -> torch.Tensor:
    return torch.tensor([os.getpid()])


def without_room(number: int) -> torch.Tensor:
    class Full(torch.Tensor):
        def share_memory_(self) -> torch.Tensor:
            raise RuntimeError("No space left on device")

    return torch.zeros(3).as_subclass(Full)


@WAYS
def test_batches_come_in_order_epoch_after_epoch(processes: int) -> None:
    before = torch.random.get_rng_state()
    read = ReadingAhead(tenfold, processes)
    for count in (9, 0, 4):
        assert [batch.item() for batch in read(range(count))] == [10 * number for number in range(count)]
    assert torch.equal(torch.random.get_rng_state(), before), "reading draws from the training's generator"


def test_processes_stay_for_the_next_epoch_and_go_with_the_reader() -> None:
    handler = signal.getsignal(signal.SIGCHLD)
    read = ReadingAhead(own_id, 2)
    first, second = ({batch.item() for batch in read(range(8))} for _ in range(2))
    assert first == second
    assert os.getpid() not in first
    assert signal.getsignal(signal.SIGCHLD) is handler
    read.itself = read  # type: ignore[attr-defined]
    del read
    started = time.monotonic()
    gc.collect()
    assert not {process.pid for process in multiprocessing.active_children()} & first
    assert time.monotonic() - started < 5, "a circle keeps a loader from telling its processes to end"


@WAYS
def test_no_more_is_asked_for_than_the_depth(processes: int) -> None:
    asked: list[int] = []
    batches = ReadingAhead(tenfold, processes)(asked.append(number) or number for number in range(100))  # type: ignore[func-returns-value]
    assert [next(batches).item(), next(batches).item()] == [0, 10]
    assert len(asked) <= 2 + 2 * max(processes, 1)


@WAYS
@pytest.mark.parametrize("count", [1, 4])
def test_an_epoch_may_be_left(processes: int, count: int) -> None:
    threads = threading.active_count()
    read = ReadingAhead(tenfold, processes)
    batches = read(range(1000))
    assert len(list(islice(batches, count))) == count
    batches.close()  # type: ignore[attr-defined]
    assert [batch.item() for batch in read(range(5, 7))] == [50, 60]
    del read, batches
    end = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < end:  # the threads of closed queues end soon
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(RuntimeError, match=r"(?s)in DataLoader worker process.*def wrong"):
        list(ReadingAhead(wrong, 1)(range(3)))


@WAYS
def test_an_error_comes_at_its_batch(processes: int) -> None:
    read = ReadingAhead(faulty, processes)
    batches = read(range(5))
    assert [next(batches).item(), next(batches).item()] == [0, 10]
    with pytest.raises(UserError, match=r"^batch 2$"):
        next(batches)


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lost, "process that reads pictures was lost"),
        (without_room, r"no room in /dev/shm .*\(No space left on device\)"),
    ],
)
def test_what_ends_reading_is_told_in_a_sentence(read: Callable[[int], torch.Tensor], message: str) -> None:
    with pytest.raises(UserError, match=rf"{message}.*image\.init_args\.workers"):
        list(ReadingAhead(read, 2)(range(20)))


def test_a_process_that_cannot_be_started_is_told_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(UserError, match=r"could not be started \(Resource temporarily.*image\.init_args\.workers"):
        list(ReadingAhead(tenfold, 2)(range(20)))


def test_signals_to_all_processes_of_a_job_leave_them_reading() -> None:
    assert len(list(ReadingAhead(told_to_end, 2)(range(6)))) == 6


def test_processes_do_not_outlive_an_interpreter_that_is_interrupted() -> None:
    code = (
        "from datamodules.reading.reading_ahead import ReadingAhead\n"
        "from tests.datamodules.reading.test_reading_ahead import own_id\n"
        "read = ReadingAhead(own_id, 1)\n"
        "print(next(read(range(99))).item(), flush=True)\n"
        "raise KeyboardInterrupt\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert ends(int(done.stdout))


def die_with_a_reader(pipe: Connection) -> None:
    pipe.send(next(ReadingAhead(own_id, 1)(range(99))).item())
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_do_not_outlive_one_that_is_killed() -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=die_with_a_reader, args=(theirs,))
    process.start()
    reader = ours.recv()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert ends(reader)


def ends(process: int) -> bool:
    """Wait for the end of a process for up to ten seconds."""
    return any(not alive(process) or time.sleep(0.1) for _ in range(100))


def alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
