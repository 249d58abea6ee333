"""Ctrl-C, or a cluster that ends a job, stops a training with a checkpoint to resume from."""

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.utilities.exceptions import SIGTERMException
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.game import TwoPlayerModel
from cmr_lightning.runs.run import Run


class Interruption(Checkpoint):
    """Ends the training with a checkpoint after the update during which a signal arrived, in all processes alike.

    A validation that is due after that update still takes place, because a resumed run would not make up for it; SLURM
    leaves it 30 seconds or more. After the last update of an epoch without a validation, one of the next epoch follows.

    - Ctrl-C saves `last.ckpt`; a second one stops at once.
    - SIGTERM saves `last.ckpt` and exits with code 143, as is usual for a process that this signal ended.
    - The signal by which SLURM announces the end of a job (SIGUSR1, unless the trainer's `SLURMEnvironment` says
      otherwise) lets Lightning save its checkpoint and requeue the job, but not in the middle of an update.
    """

    # Lightning calls callbacks that are checkpoints after all others, in their order. As the last of these, this one
    # finds nothing left to do at the end of a batch or of a validation, and may stop.

    def __init__(self, run: Run) -> None:
        self.run = run
        self._received = 0
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers, also in place of Lightning's, which would save at once."""
        signals = [signal.SIGINT, signal.SIGTERM]
        environment = trainer._accelerator_connector.cluster_environment  # a strategy for one device does not know it
        if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
            signals.append(environment.requeue_signal or signal.SIGUSR1)
        self._before = {number: signal.signal(number, self._receive) for number in signals}

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGINT:
            signal.signal(number, self._before[number])
            after = "this update and, if one is due, its validation"
            _print_once(f"\nStopping after {after}; press Ctrl-C again to stop at once.")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop after a signal, unless a validation or the end of the epoch comes first."""
        received = self._received_by_any(trainer, pl_module)
        if received and not trainer.is_last_batch and not _validation_is_due(trainer):
            self._stop(trainer, received)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save and stop after a signal."""
        if received := self._received_by_any(trainer, pl_module):
            self._stop(trainer, received)

    def _received_by_any(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> int:
        """Return the signal that any process was sent, once all gradients have been used; 0 if there is none."""
        if isinstance(pl_module, TwoPlayerModel) and pl_module.in_window:
            return 0
        if trainer.world_size > 1:
            return int(trainer.strategy.reduce(torch.tensor(self._received, device=pl_module.device), reduce_op="max"))
        return self._received

    def _stop(self, trainer: pl.Trainer, number: int) -> None:
        if number not in (signal.SIGINT, signal.SIGTERM):
            self._before[number](number, None)
            updates = trainer.global_step
            _print_once(f"Saved a checkpoint after {updates} updates, and asked SLURM to start the job again.")
            raise SIGTERMException(0)
        trainer.save_checkpoint(self.run.last)
        _print_once(f"Saved {self.run.last} after {trainer.global_step} updates; continue with --resume=true.")
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise SIGTERMException(128 + number)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the handlers."""
        while self._before:
            signal.signal(*self._before.popitem())

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Restore the handlers."""
        self.on_train_end(trainer, pl_module)


def _validation_is_due(trainer: pl.Trainer) -> bool:
    fetcher = trainer.fit_loop._data_fetcher
    return fetcher is not None and trainer.fit_loop.epoch_loop._should_check_val_fx(fetcher)


@rank_zero_only
def _print_once(message: str) -> None:
    print(message, flush=True)
