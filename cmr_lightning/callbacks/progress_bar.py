"""One progress bar for a whole training: rate, time left, loss and score."""

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
    """Shows a bar over all batches of a training, or prints a line every 15 seconds where there is no terminal.

    Lightning's own bars start again with each epoch, which on small data lasts less than a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._enabled = True
        self._started = self._last_line = 0.0

    def disable(self) -> None:
        """Print nothing; Lightning calls this on all processes but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Print again."""
        self._enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show the bar."""
        self._started = self._last_line = time.monotonic()
        self._first = _batches_done(trainer)
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
        self._task = self._bar.add_task("fit", total=_batches(trainer), completed=self._first, rate="", metrics="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the bar, or print a line if it is time for one."""
        if self._bar is not None or time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the finished bar, or a last line, on the screen."""
        self._show(trainer, pl_module)
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Release the terminal."""
        self._stop()

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the model's recent loss, if it has one, and the metrics that were logged for the bar."""
        loss = pl_module.losses.recent if isinstance(pl_module, TwoPlayerModel) else None
        return {"loss": loss, **super().get_metrics(trainer, pl_module)}

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not self._enabled:
            return
        self._last_line = time.monotonic()
        elapsed = max(self._last_line - self._started, 1e-9)
        done, total = _batches_done(trainer), _batches(trainer)
        speed = (done - self._first) / elapsed
        shown = {name: v for name, v in self.get_metrics(trainer, pl_module).items() if name != "v_num"}
        metrics = "  ".join(f"{name} {v:.4g}" for name, v in shown.items() if isinstance(v, int | float))
        if self._bar is not None:
            self._bar.update(self._task, completed=done, rate=f"{speed:.1f}/s", metrics=metrics)
        else:
            remaining = f"{(total - done) / speed:.0f} s" if total is not None and speed else "?"
            print(f"fit {done}/{total or '?'} batches  {speed:.1f}/s  {remaining} remaining  {metrics}", flush=True)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _batches_done(trainer: pl.Trainer) -> int:
    return trainer.fit_loop.epoch_loop.total_batch_idx + 1


def _batches(trainer: pl.Trainer) -> int | None:
    """Return how many batches the training has, None where `max_epochs` and `max_steps` leave that open."""
    batches = trainer.num_training_batches
    limits = [batches * trainer.max_epochs] if trainer.max_epochs and trainer.max_epochs > 0 else []
    if trainer.max_steps > 0:
        model = trainer.lightning_module
        limits.append(trainer.max_steps * (model.accumulate if isinstance(model, TwoPlayerModel) else 1))
    return int(min(limits)) if limits and not math.isinf(min(limits)) else None
