"""What pulls the modalities together beside the losses of a method: adversaries, and their rivals without a game."""

from cmr_lightning.game.alignments.adversaries import ConditionalAdversary, ModalityAdversary, WassersteinAdversary
from cmr_lightning.game.alignments.alignment import Adversary, Alignment, AlignmentFactory, Classes, ClassSource, Space

__all__ = [
    "Adversary",
    "Alignment",
    "AlignmentFactory",
    "ClassSource",
    "Classes",
    "ConditionalAdversary",
    "ModalityAdversary",
    "Space",
    "WassersteinAdversary",
]
