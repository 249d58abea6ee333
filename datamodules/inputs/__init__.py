"""From pictures and texts to tensors: decoding, tokens, vocabulary, word weights, stored features."""

from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.stored_features import StoredImages, StoredTexts
from datamodules.inputs.subword_tokens import SubwordTokens
from datamodules.inputs.text_inputs import TextInput, WordTokens, WordWeights

__all__ = [
    "FeatureArchive",
    "ImageInput",
    "Pictures",
    "StoredImages",
    "StoredTexts",
    "SubwordTokens",
    "TextInput",
    "WordTokens",
    "WordWeights",
]
