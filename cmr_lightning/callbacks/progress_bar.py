"""One bar for a whole training: rate, what remains, loss and score."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cmr_lightning.game import TwoPlayerModel

_SECONDS_BETWEEN_LINES = 15.0


class RunProgress(ProgressBar):
    """A bar over all batches of a training; a line now and then where the output is not a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._enabled = True
        self._started = 0.0
        self._first = 0
        self._last_line = 0.0

    def disable(self) -> None:
        """Say nothing: Lightning calls this on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Speak again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        self._started = self._last_line = time.monotonic()
        self._first = self._done(trainer)
        if not self._enabled or not Console().is_terminal:
            return
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("batches  {task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[metrics]}"),
        )
        self._task = self._bar.add_task("fit", total=self._total(trainer), completed=self._first, rate="", metrics="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar on, or print a line if the last one is a while ago."""
        if self._bar is not None:
            self._move(self._bar, trainer, pl_module)
        elif self._enabled and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._print_line(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar, or a last line, behind."""
        if self._bar is not None:
            self._move(self._bar, trainer, pl_module)
            self._bar.stop()
            self._bar = None
        elif self._enabled:
            self._print_line(trainer, pl_module)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """The model's recent loss if it has one, and what was logged for the bar."""
        loss = pl_module.losses.recent if isinstance(pl_module, TwoPlayerModel) else None
        return {"loss": loss, **super().get_metrics(trainer, pl_module)}

    def _move(self, bar: Progress, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        rate, metrics = self._texts(trainer, pl_module)
        bar.update(self._task, completed=self._done(trainer), rate=rate, metrics=metrics)

    def _print_line(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._last_line = time.monotonic()
        done, total = self._done(trainer), self._total(trainer)
        rate, metrics = self._texts(trainer, pl_module)
        elapsed = self._last_line - self._started
        remaining = "?"
        if total is not None and done > self._first:
            remaining = f"{(total - done) * elapsed / (done - self._first):.0f} s"
        print(
            f"fit {done}/{total or '?'} batches  {rate}  {remaining} remaining  {metrics}",
            flush=True,
        )

    def _texts(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> tuple[str, str]:
        """Rate, and metrics of the progress bar."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        shown = {k: v for k, v in self.get_metrics(trainer, pl_module).items() if k != "v_num"}
        metrics = "  ".join(f"{k} {v:.4g}" for k, v in shown.items() if isinstance(v, int | float))
        rate = (self._done(trainer) - self._first) / elapsed
        return f"{rate:.1f}/s", metrics

    @staticmethod
    def _done(trainer: pl.Trainer) -> int:
        return trainer.fit_loop.epoch_loop.total_batch_idx + 1

    @staticmethod
    def _total(trainer: pl.Trainer) -> int | None:
        batches = trainer.num_training_batches
        limits = [batches * trainer.max_epochs] if trainer.max_epochs and trainer.max_epochs > 0 else []
        if trainer.max_steps > 0:
            limits.append(trainer.max_steps * getattr(trainer.lightning_module, "accumulate", 1))
        return int(min(limits)) if limits and not math.isinf(min(limits)) else None
