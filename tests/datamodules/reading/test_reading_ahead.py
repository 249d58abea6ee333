import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.reading import reading_ahead
from datamodules.reading.reading_ahead import ahead
from tests.building import ROOT

WAYS = pytest.mark.parametrize("processes", [0, 2], ids=["threads", "processes"])


def tenfold(number):
    return torch.tensor([number * 10])


def faulty(number):
    if number == 2:
        raise UserError("batch 2")
    return number


def own_end(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def told_to_end(number):
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGTERM)
    return number


@WAYS
def test_batches_come_in_order(processes):
    assert torch.cat(list(ahead(tenfold, range(9), processes))).tolist() == [10 * number for number in range(9)]
    assert list(ahead(tenfold, [], processes)) == []


@WAYS
def test_no_more_is_asked_for_than_the_depth(processes):
    asked = []
    batches = ahead(tenfold, (asked.append(number) or number for number in range(100)), processes)
    assert [next(batches).item(), next(batches).item()] == [0, 10]
    batches.close()
    assert len(asked) <= 2 + processes + 2


@WAYS
def test_reading_stops_when_the_loop_is_left(processes):
    threads = threading.active_count()
    batches = ahead(tenfold, range(1000), processes)
    for number in batches:
        if number.item() == 30:
            break
    batches.close()
    assert threading.active_count() == threads


@WAYS
def test_reading_stops_when_the_loop_fails(processes):
    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        for _ in ahead(tenfold, range(1000), processes):
            raise KeyboardInterrupt
    assert threading.active_count() == threads


@WAYS
def test_an_error_comes_at_its_batch(processes):
    batches = ahead(faulty, range(5), processes)
    assert [next(batches), next(batches)] == [0, 1]
    with pytest.raises(UserError, match=r"^batch 2$"):
        next(batches)


def test_a_lost_process_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(reading_ahead, "_GRACE", 1)
    with pytest.raises(UserError, match=r"process that reads pictures was lost.*image.init_args.workers"):
        list(ahead(own_end, range(20), 2))


def test_signals_to_all_processes_of_a_job_leave_them_reading():
    assert list(ahead(told_to_end, range(6), 2)) == list(range(6))


def test_processes_do_not_outlive_the_one_they_read_for():
    code = (
        "import os, signal\n"
        "from datamodules.reading.reading_ahead import ahead\n"
        "from tests.datamodules.reading.test_reading_ahead import own_id\n"
        "print(*{next(ahead(own_id, range(9), 1))}, flush=True)\n"
        "batches = ahead(own_id, range(99), 1); print(next(batches), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    reader = int(done.stdout.split()[-1])
    for _ in range(100):
        if not alive(reader):
            return
        time.sleep(0.1)
    pytest.fail("the process that reads went on without the one that it reads for")


def own_id(number):
    return os.getpid()


def alive(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
