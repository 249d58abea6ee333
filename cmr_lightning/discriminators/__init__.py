"""Discriminators: small networks that try to tell what the embeddings should not show; critics: what they should."""

from cmr_lightning.discriminators.modality import ModalityClassifier
from cmr_lightning.discriminators.mutual_information import ConcatCritic, Critic, DotProductCritic, ShortcutEncoder
from cmr_lightning.discriminators.rotation import RotationClassifier

__all__ = ["ConcatCritic", "Critic", "DotProductCritic", "ModalityClassifier", "RotationClassifier", "ShortcutEncoder"]
