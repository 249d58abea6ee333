"""The adversarial game: schedules, stages and what shows how it is going."""

from cmr_lightning.game.schedules import WarmupCosine

__all__ = ["WarmupCosine"]
