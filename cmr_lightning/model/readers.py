"""Which readers a model needs: as its data set made the input of its encoders."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from cmr_lightning.model.preprocessing import NoReader, Picture, PictureReader, Reader, TextReader
from cmr_lightning.model.stored_encoders import StoredPictureReader, StoredTextReader
from datamodules import CrossModalData, TrainedOn
from datamodules.inputs import Pictures, StoredImages, StoredTexts


class Readers(NamedTuple):
    """What makes the input of the image encoder, and of the text encoder."""

    pictures: Reader[Picture, Any]
    texts: Reader[str, Any]


def readers(
    data: CrossModalData,
    trained_on: TrainedOn,
    device: torch.device,
    image_weights: str | Path | None = None,
    text_weights: str | Path | None = None,
) -> Readers:
    """Return the readers of a model; no file of its data set is read.

    Args:
        data: The data set, as the config of the training names it.
        trained_on: What the model has of it.
        device: Where encoders of stored features compute.
        image_weights: Weights of that of pictures, see `StoredPictureReader`.
        text_weights: Weights of that of texts, see `StoredTextReader`.
    """
    image, text = data.inputs(trained_on.learned)
    pictures: Reader[Picture, Any] = NoReader("pictures", trained_on.dataset, trained_on.spec.image)
    texts: Reader[str, Any] = NoReader("texts", trained_on.dataset, trained_on.spec.text)
    if isinstance(image, Pictures):
        pictures = PictureReader(image)
    elif isinstance(image, StoredImages):
        made_by = trained_on.learned["image"]
        pictures = StoredPictureReader(made_by, image.rotations, image_weights, device)
    if isinstance(text, StoredTexts):
        texts = StoredTextReader(trained_on.learned["text"], text_weights, device)
    elif text is not None and text.reads_captions:
        texts = TextReader(text)
    return Readers(pictures, texts)
