"""Discriminators: small networks that try to tell what the embeddings should not show."""

from cmr_lightning.discriminators.modality import ModalityClassifier
from cmr_lightning.discriminators.rotation import RotationClassifier

__all__ = ["ModalityClassifier", "RotationClassifier"]
