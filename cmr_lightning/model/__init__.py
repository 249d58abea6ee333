"""A trained model on its own: search among its embeddings."""

from cmr_lightning.model.approximate import ApproximateIndex, recall

__all__ = ["ApproximateIndex", "recall"]
