"""The ramp of adversarial weights, and the length of the training that it spans."""

import math

import pytorch_lightning as pl

from cmr_lightning.errors import UserError


def ramp_height(progress: float) -> float:
    """Compute 2 / (1 + exp(-10 q)) - 1 for the share q of the training done, 0 to 1 (Ganin and Lempitsky 2015).

    Examples:
        >>> [round(ramp_height(q), 3) for q in (0.0, 0.1, 0.5, 1.0)]
        [0.0, 0.462, 0.987, 1.0]
    """
    return 2 / (1 + math.exp(-10 * progress)) - 1


def total_updates(trainer: pl.Trainer, updates_per_epoch: int) -> int:
    """Count the generator updates of a whole training.

    Raises:
        UserError: If the training has no end.
    """
    epochs, steps = trainer.max_epochs, trainer.max_steps
    limits = [updates_per_epoch * epochs] if epochs is not None and epochs > 0 else []
    limits += [steps] if steps > 0 else []
    if not limits:
        raise UserError(
            "model.ramp and model.shares need to know how long the training is; set trainer.max_epochs or "
            "trainer.max_steps, or model.ramp to false and no shares."
        )
    return min(limits)
