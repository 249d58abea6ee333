"""Signals in a training; a callback of the toy experiment sends them, at a given batch."""

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.runs.run import Run
from tests.building import ROOT
from tests.cmr_lightning.runs.killing import differences


class SendSignal(pl.Callback):
    """Sends a signal to this process before a batch, counted over the epochs from 1."""

    def __init__(self, batch: int, times: int, number: int) -> None:
        self.batches_left, self.times, self.number = batch, times, number

    def on_train_batch_start(self, *_: object) -> None:
        self.batches_left -= 1
        if self.batches_left == 0:
            for _ in range(self.times):
                signal.raise_signal(self.number)  # handled before the next one, unlike os.kill


def send(batch: int, times: int = 1, number: int = signal.SIGINT) -> list[str]:
    callback = "--trainer.callbacks+=tests.cmr_lightning.callbacks.test_interruption.SendSignal"
    options = {"batch": batch, "times": times, "number": int(number)}
    return [callback, *(f"--trainer.callbacks.{name}={value}" for name, value in options.items())]


def fit(options: list[str], run: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cmr_lightning", "fit", *options, f"--run_dir={run}"]
    threads = str(torch.get_num_threads())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, **environment}
    return subprocess.run(command, cwd=run.parent, env=environment, capture_output=True, text=True, check=False)


def validations(run: Path) -> list[str]:
    """The updates after which the metrics file has a validation."""
    rows = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return [row["step"] for row in rows if row.get("val/map@all/cos/label/mean")]


@pytest.mark.parametrize(
    ("batch", "options", "updates", "validated"),
    [
        (9, [], 9, ["6"]),
        (6, [], 6, ["6"]),
        (12, [], 12, ["6", "12"]),
        (3, ["--trainer.val_check_interval=3"], 3, ["3"]),
        (3, ["--trainer.val_check_interval=1"], 3, ["1", "2", "3"]),
        (6, ["--trainer.check_val_every_n_epoch=2"], 7, []),
        (6, ["--model.accumulate=4"], 2, ["2"]),
        (8, ["--model.accumulate=4"], 3, ["2"]),
    ],
)
def test_training_ends_after_the_update_in_hand_and_a_validation_that_is_due(
    batch: int, options: list[str], updates: int, validated: list[str], toy: Path, tmp_path: Path, capsys: Any
) -> None:
    """An epoch has six batches; of those four make an update, then two another, where four are accumulated."""
    run = Run(tmp_path / "run")
    often = "--trainer.log_every_n_steps=1"
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--config={toy}", f"--run_dir={run.path}", often, *options, *send(batch)])
    assert stop.value.code == 128 + signal.SIGINT
    assert torch.load(run.last, weights_only=True)["global_step"] == updates
    assert f"after {updates} updates; continue with --resume=true" in capsys.readouterr().out
    assert validations(run.path) == validated
    assert run.best.exists() == bool(validated)
    assert not run.finished


def test_second_ctrl_c_stops_at_once(toy: Path, tmp_path: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # test workers that run in parallel ignore Ctrl-C
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        main(["fit", f"--config={toy}", f"--run_dir={run}", *send(9, times=2)])
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6  # of the first epoch


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "options", "updates"),
    [
        (9, [], 9),
        (12, [], 12),
        (18, [], 18),
        (9, ["--trainer.val_check_interval=3"], 9),
        (6, ["--trainer.check_val_every_n_epoch=2"], 7),
        (8, ["--trainer.limit_train_batches=4"], 8),
    ],
)
def test_resumed_equals_undisturbed(batch: int, options: list[str], updates: int, toy: Path, tmp_path: Path) -> None:
    """Bit for bit, in processes of their own, stopped within, at the end of or after an epoch of three."""
    options = [f"--config={toy}", "--trainer.max_epochs=3", *options]
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    assert main(["fit", *options, f"--run_dir={whole.path}"]) == 0
    stopped = fit([*options, *send(batch)], parts.path)
    assert stopped.returncode == 128 + signal.SIGINT
    assert "Traceback" not in stopped.stderr
    assert f"after {updates} updates" in stopped.stdout
    assert main(["fit", *options, f"--run_dir={parts.path}", "--resume=true"]) == 0
    assert differences(whole, parts) == []


def test_sigterm_saves_and_says_so_by_its_exit_code(toy: Path, tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    stopped = fit([f"--config={toy}", *send(9, number=signal.SIGTERM)], run.path)
    assert stopped.returncode == 128 + signal.SIGTERM
    assert "after 9 updates; continue with --resume=true" in stopped.stdout
    assert "Traceback" not in stopped.stderr
    assert torch.load(run.last, weights_only=True)["global_step"] == 9


def test_job_started_again_resumes_or_starts_over(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # test workers that run in parallel ignore Ctrl-C
    run = Run(tmp_path / "run")
    command = ["fit", f"--config={toy}", f"--run_dir={run.path}", "--trainer.max_epochs=2"]
    with pytest.raises(SystemExit):
        main([*command, *send(1, times=2)])
    assert run.started
    assert not run.checkpoints()
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    with pytest.raises(SystemExit):
        main([*command, *send(9)])
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert main(command) == 0
    assert validations(run.path) == ["6", "12"]


JOB = {"NTASKS": "1", "JOB_NAME": "train", "JOB_ID": "77", "JOB_NODELIST": "localhost"}
SLURM = {f"SLURM_{name}": value for name, value in {**JOB, "NODEID": "0", "LOCALID": "0", "PROCID": "0"}.items()}
"""What SLURM tells the one process of a job."""


@pytest.mark.slow
@pytest.mark.parametrize("batch", [12, *(pytest.param(batch, marks=pytest.mark.exhaustive) for batch in (9, 18))])
def test_job_that_slurm_starts_again_continues_where_it_was(batch: int, toy: Path, tmp_path: Path) -> None:
    """The same command is run again, as SLURM does, and ends bit for bit like an undisturbed training."""
    (tmp_path / "bin").mkdir()
    requeue = tmp_path / "bin" / "scontrol"
    requeue.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    requeue.chmod(0o755)
    job = {**SLURM, "PATH": f"{requeue.parent}:{os.environ['PATH']}"}
    options = [f"--config={toy}", "--trainer.max_epochs=3"]
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    assert main(["fit", *options, f"--run_dir={whole.path}"]) == 0
    stopped = fit([*options, *send(batch, number=signal.SIGUSR1)], parts.path, **job)
    assert (stopped.returncode, stopped.stderr.count("\n")) == (0, 1)
    assert f"Saved a checkpoint after {batch} updates, and asked SLURM to start the job again." in stopped.stdout
    assert (tmp_path / "asked").read_text() == "requeue 77\n"
    assert not parts.finished
    again = fit(options, parts.path, **job, SLURM_RESTART_COUNT="1")
    assert (again.returncode, again.stderr.count("\n")) == (0, 1)
    assert differences(whole, parts) == []
