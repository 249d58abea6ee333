"""The adversarial game: turns, optimizers, schedules, the ramp, stages, and what shows how the game is going."""

from cmr_lightning.game.diagnostics import AdversarialDiagnostics
from cmr_lightning.game.schedules import WarmupCosine
from cmr_lightning.game.stages import Stage, TrainingStages
from cmr_lightning.game.turns import TwoPlayerModel

__all__ = ["AdversarialDiagnostics", "Stage", "TrainingStages", "TwoPlayerModel", "WarmupCosine"]
