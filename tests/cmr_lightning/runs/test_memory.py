import subprocess
import sys

import pytest
import torch

from cmr_lightning.runs import memory
from cmr_lightning.runs.memory import peak_memory


def test_peak_holds_what_was_given_back_again():
    before = peak_memory()["process_mib"]
    held = bytearray(200 * 1024**2)
    held[::1024] = b"x" * len(held[::1024])
    del held
    assert peak_memory()["process_mib"] >= max(before, 200)


@pytest.mark.skipif(not memory._STATUS.exists(), reason="Linux alone tells the peak of a program without its parent's")
def test_peak_is_not_that_of_the_process_that_started_this_one():
    held = bytearray(300 * 1024**2)
    held[::1024] = b"x" * len(held[::1024])
    code = "from cmr_lightning.runs.memory import _resident; print(_resident() // 1024**2)"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 0 < int(found.stdout) < 200


def test_without_proc_the_system_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_STATUS", tmp_path / "none")
    assert peak_memory()["process_mib"] > 50


def test_gpu_is_told_only_where_one_was_used(monkeypatch):
    assert "gpu_mib" in peak_memory() or not torch.cuda.is_initialized()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda gpu: (gpu + 1) * 3 * 1024**2)
    assert peak_memory()["gpu_mib"] == 6
