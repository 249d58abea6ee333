"""Flickr30k in miniature, in Karpathy's form."""

from functools import partial
from pathlib import Path

from datamodules.flickr import Flickr30k
from tests.datamodules.published.flickr8k import SIZES, karpathy_images, write_karpathy, write_pictures
from tests.datamodules.published.invention import SMALL, Expected

load = partial(Flickr30k, image=SMALL)
TINY = {"batch_size": 8}
SPLITS = [Expected({}, "Karpathy 40/10/10", "9610657410ea7cd6", (40, 10, 10))]


def write(root: Path) -> None:
    """Write Flickr30k: Karpathy's file and the pictures."""
    images = karpathy_images(SIZES)
    for number, image in enumerate(images):
        image["filename"] = f"{1000092795 + number}.jpg"
    write_karpathy(root / "dataset_flickr30k.json", "flickr30k", images)
    write_pictures(root / "flickr30k-images", [image["filename"] for image in images])
