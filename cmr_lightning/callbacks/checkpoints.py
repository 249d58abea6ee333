"""Which weights of a run are kept: the best on the validation part, and the newest."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ModelCheckpoint

from cmr_lightning.errors import UserError
from cmr_lightning.runs.checkpoint_files import read_checkpoint
from cmr_lightning.runs.comparison import Change
from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.run import Run


class _RunCheckpoint(ModelCheckpoint):
    """A checkpoint with a fixed name in the run's folder."""

    def __init__(self, path: Path, monitor: str | None, mode: Literal["max", "min"]) -> None:
        super().__init__(
            dirpath=path.parent,
            filename=path.stem,
            monitor=monitor,
            mode=mode,
            save_top_k=1,
            auto_insert_metric_name=False,
            enable_version_counter=False,
            save_on_train_epoch_end=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores so far, which Lightning would forget if the run's folder was moved or copied."""
        path, score = self.format_checkpoint_name({}), state_dict["best_model_score"]
        here = {
            "dirpath": self.dirpath,
            "best_model_path": path,
            "kth_best_model_path": path,
            "best_k_models": {} if score is None else {path: score},
        }
        super().load_state_dict({**state_dict, **here})

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save also where `global_step` has not moved since the last time."""
        # Neither a closed form nor a stage that trains the discriminator alone makes updates of the generator.
        self._last_global_step_saved = -1
        super().on_validation_end(trainer, pl_module)


class BestCheckpoint(_RunCheckpoint):
    """`checkpoints/best.ckpt`, the largest or smallest by a validation score `val/<protocol id>/mean`.

    Scores from before the game is `under_way` count only until there is a later one.
    """

    def __init__(self, run: Run, monitor: str, mode: Literal["max", "min"]) -> None:
        super().__init__(run.best, monitor, mode)
        self._under_way = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a better checkpoint, the first one of a game that is under way in any case."""
        if trainer.sanity_checking:  # before the length of the training is known
            return
        under_way = bool(getattr(pl_module, "under_way", True))
        if under_way and not self._under_way:
            self.best_model_score, self.best_model_path, self.kth_best_model_path = None, "", ""
            self.best_k_models, self._under_way = {}, True
        if under_way or not self._under_way:
            super().on_validation_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        """Return what Lightning keeps, and whether the scores so far are those of a game under way."""
        return {**super().state_dict(), "under_way": self._under_way}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the scores so far, and whether they are those of a game under way."""
        super().load_state_dict(state_dict)
        self._under_way = state_dict["under_way"]

    def selection(self) -> dict[str, Any]:
        """Return by which score the checkpoint was selected, and after which epoch and update.

        Raises:
            UserError: If there was no validation.
        """
        if self.best_model_score is None:
            raise UserError(
                f"No checkpoint was kept, because {self.monitor} was never measured: trainer.max_epochs, max_steps, "
                f"max_time or limit_train_batches ends the training before the first validation."
            )
        best = read_checkpoint(Path(self.best_model_path))
        score, when = self.best_model_score.item(), {"epoch": best["epoch"], "step": best["global_step"]}
        return {"monitor": self.monitor, "mode": self.mode, "value": score, **when}


class LastCheckpoint(_RunCheckpoint):
    """`checkpoints/last.ckpt`, written after each validation.

    Args:
        run: The run.
        config: Its resolved config.
        changes: Settings that resuming has changed before, and after how many updates.
        changed: Settings that differ from those of the checkpoint that this training goes on from.
    """

    def __init__(
        self,
        run: Run,
        config: dict[str, Any],
        changes: Sequence[dict[str, Any]] = (),
        changed: Mapping[str, Change] | None = None,
    ) -> None:
        super().__init__(run.last, None, "min")
        self.config = config
        self.changes = list(changes)
        self._changed = changed or {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note from which update on settings are others than before."""
        super().on_train_start(trainer, pl_module)
        if self._changed:
            changed = {key: list(change) for key, change in self._changed.items()}
            self.changes.append({"updates": trainer.global_step, **changed})

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note, in every checkpoint, the settings, and how many rows of the metrics file come before it."""
        checkpoint["config"], checkpoint["changes"] = self.config, self.changes
        files = [logger for logger in trainer.loggers if isinstance(logger, MetricsFile)]
        checkpoint["metrics_rows"] = sum(file.rows for file in files) if trainer.is_global_zero else 0
