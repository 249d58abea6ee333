"""Ctrl-C ends a training after the update in hand, with a checkpoint to resume from."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import pytorch_lightning as pl

from cmr_lightning.runs import Run


class Interruption(pl.Callback):
    """Lets the first Ctrl-C finish the update in hand and save `last.ckpt`; a second one stops at once.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self._asked = False
        self._before: Any = None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over Ctrl-C."""
        self._before = signal.signal(signal.SIGINT, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
        signal.signal(signal.SIGINT, self._before)
        print("\nStopping after this update; press Ctrl-C again to stop at once.")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save and stop, if asked to and all gradients have been used."""
        if self._asked and not getattr(pl_module, "in_window", False):
            trainer.save_checkpoint(self.run.last)
            print(f"Saved {self.run.last} after {trainer.global_step} updates; go on with --resume=true.")
            raise KeyboardInterrupt

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
