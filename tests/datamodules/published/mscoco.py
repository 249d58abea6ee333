"""MSCOCO in miniature, in Karpathy's form, with Crisscrossed Captions and ECCV Caption."""

import json
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.mscoco import MSCOCO
from tests.datamodules.published.flickr8k import karpathy_images, write_karpathy, write_pictures
from tests.datamodules.published.invention import SMALL, Expected

load = partial(MSCOCO, image=SMALL)
TINY = {"batch_size": 8}
SPLITS = [
    Expected({}, "Karpathy 40/10/10, restval in train", "fa0bc475517d9f4d", (40, 10, 10)),
    Expected({"restval": False}, "Karpathy 30/10/10, restval left out", "9184e6860ef42130", (30, 10, 10)),
]
SIZES = {"train": 30, "restval": 10, "val": 10, "test": 10}


def write(root: Path) -> None:
    """Write MSCOCO: Karpathy's file with up to seven captions a picture, the pictures, and the judgements."""
    images = karpathy_images(SIZES, captions=(5, 6, 5, 7))
    for number, image in enumerate(images):
        image["cocoid"] = 391895 + number
        image["filepath"] = "train2014" if image["split"] == "train" else "val2014"
        image["filename"] = f"COCO_{image['filepath']}_{image['cocoid']:012d}.jpg"
        for sentence in image["sentences"]:
            sentence["sentid"] += 770000
        image["sentids"] = [sentence["sentid"] for sentence in image["sentences"]]
    write_karpathy(root / "dataset_coco.json", "coco", images)
    write_pictures(root, [f"{image['filepath']}/{image['filename']}" for image in images])
    _write_judgements(root / "eccv_caption", [image for image in images if image["split"] == "test"])


def _write_judgements(folder: Path, images: list[dict[str, Any]]) -> None:
    """Every text answers its own image and the next but one.

    Crisscrossed Captions judged everything, ECCV Caption the first half of the images and one caption of each.
    """
    folder.mkdir()
    texts: dict[int, list[int]] = defaultdict(list)
    pictures: dict[int, list[int]] = {}
    for row, image in enumerate(images):
        answered = [image["cocoid"], images[(row + 2) % len(images)]["cocoid"]]
        for sentence in image["sentids"]:
            pictures[sentence] = answered
            for picture in answered:
                texts[picture].append(sentence)
    half = images[: len(images) // 2]
    contents = {
        "cxc_image_to_caption": texts,
        "cxc_caption_to_image": pictures,
        "eccv_image_to_caption": {image["cocoid"]: texts[image["cocoid"]] for image in half},
        "eccv_caption_to_image": {image["sentids"][0]: pictures[image["sentids"][0]] for image in half},
    }
    for name, content in contents.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
