"""Ctrl-C, or a cluster that takes its machine back, ends a training with a checkpoint to resume from."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.runs import Run


class Interruption(pl.Callback):
    """Lets a signal end the training after the update in hand, the same in all processes, with a checkpoint.

    - Ctrl-C saves `last.ckpt`; a second one stops at once.
    - SIGTERM saves `last.ckpt` and exits with code 143, as a process does that it ended.
    - The signal by which SLURM announces the end of a job (SIGUSR1, unless the trainer's `SLURMEnvironment` says
      otherwise) lets Lightning save its checkpoint and requeue the job, as it would have done in the middle of an
      update.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._asked = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals, from Lightning too, which would save at once."""
        signals = [signal.SIGINT, signal.SIGTERM]
        environment = getattr(trainer.strategy, "cluster_environment", None)
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            signals.append(environment.requeue_signal or signal.SIGUSR1)
        self._before = {number: signal.signal(number, self._ask) for number in signals}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = number
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
            _say("\nStopping after this update; press Ctrl-C again to stop at once.")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if any process was asked to and all gradients have been used."""
        if getattr(pl_module, "in_window", False):
            return
        asked = self._asked
        if trainer.world_size > 1:
            asked = int(trainer.strategy.reduce(torch.tensor(asked, device=pl_module.device), reduce_op="max"))
        if asked:
            self._stop(trainer, asked)

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            self._before[number](number, None)
            raise SIGTERMException(0)
        trainer.save_checkpoint(self.run.last)
        _say(f"Saved {self.run.last} after {trainer.global_step} updates; go on with --resume=true.")
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SIGTERMException(128 + number)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back."""
        while self._before:
            signal.signal(*self._before.popitem())

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self.on_train_end(trainer, pl_module)


@rank_zero_only
def _say(message: str) -> None:
    print(message, flush=True)
