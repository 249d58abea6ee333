"""A small data set of noisy pictures with two captions each, in the way of Flickr8k."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from cmr_lightning.evaluation import INSTANCE_LEVEL
from datamodules.base import PartName
from datamodules.families.listed_data import ListedData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput, WordTokens
from datamodules.reading.listing import Listing, no_labels

PARTS = {"train": range(0, 130), "val": range(130, 140), "test": range(140, 150)}
PICTURES = 150
CAPTIONS = 2


class Album(ListedData):
    """Pictures `pictures/<n>.jpg`; `wording` changes the captions."""

    classes = ("anything",)
    protocols = INSTANCE_LEVEL
    split_name = "album"
    parts: ClassVar[dict[str, range]] = PARTS

    def __init__(
        self, root: str, image: ImageInput, text: TextInput | None = None, wording: str = "shows", batch_size: int = 16
    ) -> None:
        super().__init__(root, image, text or WordTokens(), batch_size=batch_size)
        self.wording = wording

    def list_part(self, part: PartName) -> Listing:
        rows = self.parts[part]
        return Listing(
            pictures=tuple(f"pictures/{n}.jpg" for n in rows),
            label=no_labels(len(rows)),
            captions=tuple(f"this {self.wording} {n} {k}" + " indeed" * (n % 3) for n in rows for k in range(CAPTIONS)),
            owner=torch.arange(len(rows)).repeat_interleave(CAPTIONS),
        )


def captioned(*captions: str) -> Listing:
    """Pictures with a caption each."""
    count = len(captions)
    return Listing(tuple(f"{row}.jpg" for row in range(count)), no_labels(count), captions, torch.arange(count))


def write_album(root: Path, pictures: int = PICTURES) -> Path:
    """Write the pictures."""
    rng = np.random.default_rng(0)
    (root / "pictures").mkdir(parents=True)
    for n in range(pictures):
        Image.fromarray(rng.integers(0, 256, (40, 44, 3), dtype=np.uint8)).save(root / "pictures" / f"{n}.jpg")
    return root
