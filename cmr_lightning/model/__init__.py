"""A trained model on its own: load it, embed with it, index and search pictures and texts."""

from cmr_lightning.model.approximate import ApproximateIndex, recall
from cmr_lightning.model.index import Index
from cmr_lightning.model.loading import load
from cmr_lightning.model.trained_model import Model

__all__ = ["ApproximateIndex", "Index", "Model", "load", "recall"]
