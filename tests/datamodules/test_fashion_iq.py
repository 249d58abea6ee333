import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datamodules.families.listed_data import PARTS
from datamodules.fashion_iq import CATEGORIES, FashionIQ, relative_text
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.reading.committed_splits import held_out
from tests.datamodules.published.fashion_iq import PICTURES, SHARED, load


def published(data: FashionIQ, part: Any) -> list[tuple[int, str, str, str]]:
    """Category, candidate, text and target of each query, read once more."""
    found = []
    for number, category in enumerate(CATEGORIES):
        name = "val" if part == "test" else "train"
        for entry in json.loads((data.root / f"captions/cap.{category}.{name}.json").read_text()):
            if part == "test" or held_out(entry["target"]) == (part == "val"):
                texts = [text.strip() for text in entry["captions"] if text.strip()]
                found.append((number, entry["candidate"], " and ".join(texts), entry["target"]))
    return found


@pytest.mark.parametrize("part", PARTS)
def test_queries_are_those_of_the_files(data: FashionIQ, part: Any) -> None:
    listing = data.listing(part)
    names = [Path(picture).stem for picture in listing.pictures]
    assert listing.fold is not None
    found = [
        (int(listing.fold[a]), names[a], text, names[b])
        for a, text, b in zip(listing.owner.tolist(), listing.captions, listing.target.tolist(), strict=True)
    ]
    assert found == published(data, part)
    assert len(found) > 5
    assert bool((listing.fold[listing.owner] == listing.fold[listing.target]).all())


def test_all_pictures_of_the_published_validation_are_found_by_category(data: FashionIQ) -> None:
    listing = data.listing("test")
    assert listing.fold is not None
    assert listing.fold.bincount().tolist() == [PICTURES["val"]] * 3
    twice = [row for row, picture in enumerate(listing.pictures) if Path(picture).stem == SHARED]
    assert listing.fold[twice].tolist() == [1, 2]


def test_an_empty_caption_is_left_out() -> None:
    assert relative_text([" is red", "has dots "]) == "is red and has dots"
    assert relative_text(["", "has dots"]) == "has dots"


def test_training_queries_are_the_same_in_each_epoch(data: FashionIQ) -> None:
    assert data.epoch(torch.Generator()) is data.part("train")


def test_protocols_are_means_over_the_categories(data: FashionIQ) -> None:
    main = ["recall@10/cos/target/3fold", "recall@50/cos/target/3fold"]
    assert [protocol.id for protocol in data.protocols[:2]] == main


def test_features_of_an_archive_are_found_for_pictures_of_two_categories(data: FashionIQ, tmp_path: Path) -> None:
    names = sorted({picture for part in PARTS for picture in data.listing(part).pictures})
    np.savez(tmp_path / "f.npz", names=np.array(names), features=np.arange(len(names))[:, None])
    archived = load(data.root, image=FeatureArchive(str(tmp_path / "f.npz")))
    for part in PARTS:
        image = archived.part(part).image
        assert isinstance(image, torch.Tensor)
        assert [names[row] for row in image[:, 0].int().tolist()] == list(data.listing(part).pictures)
