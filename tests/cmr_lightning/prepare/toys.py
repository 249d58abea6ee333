"""Data sets of a user's own, which `prepare` is given by their class paths."""

from pathlib import Path
from typing import ClassVar

from datamodules.facts import Counts, Facts, Origin
from datamodules.families.karpathy import KarpathyData
from tests.datamodules.published.flickr8k import karpathy_images, write_karpathy

SIZES = {"train": 4, "val": 2, "test": 2}
PICTURES = [f"{number}.jpg" for number in range(sum(SIZES.values()))]
LIST = "toys.json"


class Toys(KarpathyData):
    facts: ClassVar[Facts] = Facts(
        name="toys",
        title="Toys (nobody, never)",
        level="instance",
        terms="Toys are for play.",
        origins=(
            Origin((LIST,), "write the list"),
            Origin(("images",), "look for toys.zip on toy.example and unpack it", file="toys.zip"),
        ),
        counts={part: Counts(size, 5 * size) for part, size in SIZES.items()},
    )

    def path(self, picture: str) -> str:
        return f"images/{picture}"


class ListedToys(Toys):
    """The list, which is a file without a folder around it, is what can be downloaded; the pictures are optional."""

    facts = Facts(
        name="toys",
        title="Toys",
        level="instance",
        origins=(Origin((LIST,), "look for toys.json", file=LIST),),
        optional={"images": "pictures"},
        sha256={LIST: "0" * 64},
    )


def write_list(root: Path) -> None:
    images = karpathy_images(SIZES)
    for name, image in zip(PICTURES, images, strict=True):
        image["filename"] = name
    write_karpathy(root / LIST, "toys", images)


def write_pictures(root: Path) -> None:
    """Write what stands for pictures: `prepare` does not decode them."""
    (root / "images").mkdir(parents=True, exist_ok=True)
    for name in PICTURES:
        (root / "images" / name).write_text(f"picture {name[0]}")
