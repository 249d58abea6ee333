"""Discriminators: small networks that try to tell what the embeddings should not show; critics: what they should."""

from cmr_lightning.discriminators.classifiers import Discriminator, ModalityClassifier, RotationClassifier
from cmr_lightning.discriminators.critics import ConcatCritic, Critic, DotProductCritic, ShortcutEncoder

__all__ = [
    "ConcatCritic",
    "Critic",
    "Discriminator",
    "DotProductCritic",
    "ModalityClassifier",
    "RotationClassifier",
    "ShortcutEncoder",
]
