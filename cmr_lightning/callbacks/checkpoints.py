"""Which weights of a run are kept: the best on the validation part, and the newest."""

from __future__ import annotations

from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.run import Run


class _RunCheckpoint(ModelCheckpoint):
    """A checkpoint with a fixed name in the folder of the run, saved also where the generator makes no update.

    Neither a closed form nor a stage in which only the discriminator moves makes any.
    """

    def __init__(self, run: Run, name: str, monitor: str | None, mode: Literal["max", "min"]) -> None:
        super().__init__(
            dirpath=run.best.parent,
            filename=name,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the scores so far, which Lightning would forget if the run's folder was moved or copied."""
        path, score = self.format_checkpoint_name({}), state_dict["best_model_score"]
        here = {
            "dirpath": self.dirpath,
            "best_model_path": path,
            "kth_best_model_path": path,
            "best_k_models": {} if score is None else {path: score},
        }
        super().load_state_dict({**state_dict, **here})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, whether or not `global_step` has moved on since the last time, as Lightning wants it to."""
        self._last_global_step_saved = -1
        super().on_validation_end(trainer, pl_module)


class BestCheckpoint(_RunCheckpoint):
    """`checkpoints/best.ckpt`, the best by a validation score.

    Args:
        run: The run.
        monitor: Name of the score, `val/<protocol id>/mean`.
        mode: Whether a larger or a smaller score is better.
    """

    def __init__(self, run: Run, monitor: str, mode: Literal["max", "min"]) -> None:
        super().__init__(run, run.best.stem, monitor, mode)


class LastCheckpoint(_RunCheckpoint):
    """`checkpoints/last.ckpt`, written after each validation.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run, run.last.stem, None, "min")

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say, in every checkpoint, how much of the metrics file comes before it."""
        files = [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
        checkpoint["metrics_rows"] = sum(file.rows for file in files) if trainer.is_global_zero else 0
