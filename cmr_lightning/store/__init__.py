"""The memory-mapped feature store."""

from cmr_lightning.store.feature_store import Dtype, FeatureStore, Manifest, Rows, image_check, places_of_stores
from cmr_lightning.store.store_writer import StoreWriter

__all__ = ["Dtype", "FeatureStore", "Manifest", "Rows", "StoreWriter", "image_check", "places_of_stores"]
