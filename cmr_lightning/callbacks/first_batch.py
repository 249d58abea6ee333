"""What is done once a training really begins."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl


class FirstBatch(pl.Callback):
    """Calls a function on the first process, just before the first batch is trained on.

    Until then optimizers, schedules and loaders are built, the validation is tried, and each part of the training has
    looked at the settings of the others: what is refused, is refused before. A training that is resumed after its last
    batch has no first one.

    Args:
        begin: The function.
    """

    def __init__(self, begin: Callable[[], None]) -> None:
        self._begin = begin
        self._begun = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Begin, if that was not done before."""
        if not self._begun and trainer.is_global_zero:
            self._begin()
        self._begun = True
