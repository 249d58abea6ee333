"""Encoders: from what a data set serves into the common space."""

from cmr_lightning.encoders.features import FeatureMLP
from cmr_lightning.encoders.fixed import BagOfWords, Thumbnail, fixed_view
from cmr_lightning.encoders.fusion import Concatenation, Fusion, ImageOnly, TextOnly, TIRGFusion, TIRGLastMap
from cmr_lightning.encoders.images import TimmEncoder, with_maps
from cmr_lightning.encoders.texts import WordRNN
from cmr_lightning.encoders.transformer import TextTransformer

__all__ = [
    "BagOfWords",
    "Concatenation",
    "FeatureMLP",
    "Fusion",
    "ImageOnly",
    "TIRGFusion",
    "TIRGLastMap",
    "TextOnly",
    "TextTransformer",
    "Thumbnail",
    "TimmEncoder",
    "WordRNN",
    "fixed_view",
    "with_maps",
]
