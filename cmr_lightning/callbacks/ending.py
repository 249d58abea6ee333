"""How a training ends, and how long it took."""

import time
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from cmr_lightning.callbacks.checkpoints import BestCheckpoint
from cmr_lightning.game import TwoPlayerModel


class End(Checkpoint):
    """Lets a training end with a whole update and a validation.

    By itself, Lightning ends it in the middle of an update when the time is over, and without a validation when none is
    due: what was learned since the last one would be lost. A training that is too short for any validation would leave
    no checkpoint.

    Args:
        best: Knows whether there was a validation.
    """

    # Lightning calls callbacks that are checkpoints after all others, which may have stopped the training.

    def __init__(self, best: BestCheckpoint) -> None:
        self.best = best
        self._stopped = False

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Put the end off until the update is complete, and ask for a validation then."""
        self._stopped = self._stopped or trainer.should_stop
        if isinstance(pl_module, TwoPlayerModel) and pl_module.in_window:
            trainer.should_stop = False
        elif self._stopped or (self.best.best_model_score is None and _ends_here(trainer)):
            trainer.should_stop = True
            if trainer.fit_loop._can_stop_early:
                trainer.check_val_every_n_epoch = 1


def _ends_here(trainer: pl.Trainer) -> bool:
    """Tell whether the training ends after this batch, because it has reached its length."""
    epochs = trainer.max_epochs or 0
    last_epoch = 0 < epochs <= trainer.current_epoch + 1
    return 0 < trainer.max_steps <= trainer.global_step or (trainer.is_last_batch and last_epoch)


class TrainingTime(pl.Callback):
    """Measures how long a training takes, together with its parts before it was resumed.

    Lightning's `Timer` does so, too, but one of the user's could not stand beside ours.
    """

    def __init__(self) -> None:
        self._before = 0.0
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Time from the start of the training until now, or until its end."""
        return self._before + (0.0 if self._started is None else time.monotonic() - self._started)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop the clock."""
        self._before, self._started = self.seconds, None

    def state_dict(self) -> dict[str, Any]:
        """Return the time so far, for a checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the time of a checkpoint."""
        self._before = state_dict["seconds"]
