"""Kill a run again and again at random moments, resume it each time, and compare it with one left in peace.

    python -m tests.cmr_lightning.runs.killing FOLDER KILLS [SEED]

Runs are forked from one process that has imported everything, and killed by SIGKILL, which no program can prepare for.
"""

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytorch_lightning as pl
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.experiment import data_checksum, resolved_config
from cmr_lightning.runs.planned_run import Job, PlannedRun
from cmr_lightning.runs.run import Run
from tests.building import write_toy

EPOCHS = 8
BEGUN = "begun"


class Slowly(pl.Callback):
    """Says when a run has begun, and stretches it, so that there is time to kill it everywhere."""

    begun = False

    def on_train_batch_start(self, trainer: pl.Trainer, *_: object) -> None:
        if not self.begun:
            Path(trainer.default_root_dir, BEGUN).touch()
        self.begun = True

    def on_train_batch_end(self, *_: object) -> None:
        time.sleep(0.02)


def job_of(planned: PlannedRun) -> Job:
    """The run with the config and the data that it has now."""
    config = resolved_config(planned.fit)
    return Job(planned, config, data_checksum(config["data"]))


def start(options: list[str]) -> int:
    """Begin a run in a process of its own."""
    child = os.fork()
    if child == 0:
        log = os.open(os.devnull, os.O_WRONLY)
        os.dup2(log, 1)
        os._exit(main(["fit", *options]))
    return child


def ended(child: int) -> int:
    """Wait for a run, and say how it ended."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def options(folder: Path, name: str) -> list[str]:
    """A run with two players, dropout and a checkpoint after every second update, of six an epoch."""
    trainer = {"max_epochs": EPOCHS, "val_check_interval": 2, "num_sanity_val_steps": 0, "log_every_n_steps": 4}
    return [
        f"--config={write_toy(folder / 'toy.yaml')}",
        f"--run_dir={folder / name}",
        *(f"--trainer.{key}={value}" for key, value in trainer.items()),
        "--trainer.callbacks+=tests.cmr_lightning.runs.killing.Slowly",
    ]


def kill_and_resume(folder: Path, kills: int, seed: int = 0) -> list[int]:
    """Let one run be, and kill the other `kills` times.

    Returns:
        The update of the newest checkpoint at each kill, 0 where there was none.
    """
    torch.set_num_threads(1)
    draw = random.Random(seed)
    assert ended(start(options(folder, "whole"))) == 0
    duration = time.time() - (folder / "whole" / BEGUN).stat().st_mtime
    killed, run = Run(folder / "killed"), options(folder, "killed")
    progress: list[int] = []
    while len(progress) < kills:
        again = ["--resume=true"] if killed.checkpoints() else ["--overwrite=true"]
        child = start([*run, *again])
        while not (killed.path / BEGUN).exists():
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.5) * duration)
        os.kill(child, signal.SIGKILL)
        if ended(child) == 0:  # it was quicker
            shutil.rmtree(killed.path)
            continue
        (killed.path / BEGUN).unlink()
        found = [torch.load(path, weights_only=True)["global_step"] for path in killed.checkpoints()]
        progress.append(max(found, default=0))
    assert ended(start([*run, "--resume=true" if killed.checkpoints() else "--overwrite=true"])) == 0
    return progress


def differences(whole: Run, killed: Run) -> list[str]:
    """In what two runs differ: weights, rows of the metrics file, the best score."""
    found = []
    for checkpoint in ("last", "best"):
        one, other = (torch.load(getattr(run, checkpoint), weights_only=True) for run in (whole, killed))
        parts = ("state_dict", "optimizer_states", "loops")
        found += [f"{part} of {checkpoint}.ckpt" for part in parts if not same(one[part], other[part])]
    if whole.metrics.read_text() != killed.metrics.read_text():
        found.append("metrics.csv")
    if whole.read_summary()["selection"] != killed.read_summary()["selection"]:
        found.append("selection")
    return found


def same(one: object, other: object) -> bool:
    """Whether two trees of tensors are equal, bit for bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(same, one, other))
    return one == other


if __name__ == "__main__":
    sys.argv, arguments = sys.argv[:1], sys.argv[1:]
    place = Path(arguments[0])
    place.mkdir(parents=True, exist_ok=True)
    print("newest checkpoint at each kill:", kill_and_resume(place, *map(int, arguments[1:])))
    print("differs in:", differences(Run(place / "whole"), Run(place / "killed")) or "nothing")
