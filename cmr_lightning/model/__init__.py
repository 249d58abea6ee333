"""A trained model on its own: load it, embed with it, search among embeddings."""

from cmr_lightning.model.approximate import ApproximateIndex, recall
from cmr_lightning.model.loading import load
from cmr_lightning.model.trained_model import Model

__all__ = ["ApproximateIndex", "Model", "load", "recall"]
