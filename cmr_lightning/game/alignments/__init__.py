"""What pulls the modalities together beside the losses of a method: adversaries, and their rivals without a game."""

from cmr_lightning.game.alignments.adversaries import ConditionalAdversary, ModalityAdversary, WassersteinAdversary
from cmr_lightning.game.alignments.alignment import Adversary, Alignment, AlignmentFactory, Classes, ClassSource, Space
from cmr_lightning.game.alignments.divergences import CORAL, MMD, Centring, ClassCentring, Sinkhorn

__all__ = [
    "CORAL",
    "MMD",
    "Adversary",
    "Alignment",
    "AlignmentFactory",
    "Centring",
    "ClassCentring",
    "ClassSource",
    "Classes",
    "ConditionalAdversary",
    "ModalityAdversary",
    "Sinkhorn",
    "Space",
    "WassersteinAdversary",
]
