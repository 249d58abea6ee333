import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from cmr_lightning.methods.chance import Random
from datamodules import nus_wide as module
from datamodules.families.listed_data import PARTS
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.inputs.text_inputs import WordWeights
from datamodules.nus_wide import NUSWIDE, TEN
from tests.building import trainer
from tests.datamodules.published import nus_wide as published


def nus_wide(root: Path, variant: str = "10k", text=None) -> NUSWIDE:
    text = text or WordWeights("counts", max_features=1000)
    return NUSWIDE(str(root), FeatureArchive("vgg19_features.npz"), text, variant)


def lines(root: Path) -> list[str]:
    """Published photos in their order, as paths."""
    listed = (root / "ImageList/Imagelist.txt").read_text().splitlines()
    return ["Flickr/" + line.replace("\\", "/") for line in listed if line]


def labels(root: Path, concepts: tuple[str, ...]) -> np.ndarray:
    """Published labels `(all photos, C)`."""
    return np.stack([np.loadtxt(root / f"Groundtruth/AllLabels/Labels_{c}.txt") for c in concepts], axis=1) > 0


def photo_id(file: str) -> str:
    return re.findall(r"_(\d+)\.jpg", file)[0]


def draw(file: str) -> str:
    return hashlib.sha256(f"0/{photo_id(file)}".encode()).hexdigest()


def listed_ids(data: NUSWIDE, part) -> set[str]:
    return {photo_id(file) for file in data.listing(part).pictures}


def test_10k_has_the_published_label_of_photos_with_one_of_the_ten(miniature: Path) -> None:
    data = nus_wide(miniature)
    of = dict(zip(lines(miniature), labels(miniature, TEN), strict=True))
    for part in PARTS:
        listing = data.listing(part)
        ours = np.stack([of[file] for file in listing.pictures])
        assert (ours.sum(1) == 1).all()
        assert listing.label.tolist() == ours.argmax(1).tolist()


def test_10k_parts_are_the_tenths_of_each_class_by_sha256(miniature: Path) -> None:
    data = nus_wide(miniature)
    untagged = {lines(miniature)[row] for row in published.UNTAGGED}
    for label in range(len(TEN)):
        table = labels(miniature, TEN)
        single = (table.sum(1) == 1) & table[:, label]
        files = {photo_id(file): file for file, kept in zip(lines(miniature), single, strict=True) if kept}
        order = sorted((file for file in files.values() if file not in untagged), key=draw)
        tenth = len(order) // 10
        parts = {"test": order[:tenth], "val": order[tenth : 2 * tenth], "train": order[2 * tenth :]}
        for part, expected in parts.items():
            listing = data.listing(part)
            ours = {photo_id(f) for f, c in zip(listing.pictures, listing.label.tolist(), strict=True) if c == label}
            assert ours == {photo_id(file) for file in expected}


def test_10k_takes_no_more_of_a_class_than_the_rule_says(miniature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PER_CLASS_10K", 30)
    data = nus_wide(miniature)
    counts = {part: torch.bincount(data.listing(part).label).tolist() for part in PARTS}
    assert counts == {"train": [24] * 10, "val": [3] * 10, "test": [3] * 10}
    assert data.split_name == "10k, selected by our own rule: 240 train, 30 val, 30 test"


@pytest.mark.parametrize("variant", ["10k", "tc21"])
def test_photos_that_are_listed_twice_are_used_once_and_those_without_tags_never(miniature: Path, variant: str) -> None:
    data = nus_wide(miniature, variant)
    untagged = {photo_id(lines(miniature)[row]) for row in published.UNTAGGED}
    assert len({photo_id(lines(miniature)[row]) for row in published.TWICE}) == 1
    found = [photo_id(file) for part in PARTS for file in data.listing(part).pictures]
    assert not untagged & set(found)
    assert len(found) == len(set(found)) or variant == "tc21"  # there the gallery holds what is trained on


def test_captions_are_the_tags_of_their_photos(miniature: Path) -> None:
    published_tags = (miniature / "NUS_WID_Tags/All_Tags.txt").read_text().splitlines()
    tags = {line.split()[0]: line.split()[1:] for line in published_tags}
    listing = nus_wide(miniature).listing("val")
    assert [caption.split() for caption in listing.captions] == [tags[photo_id(file)] for file in listing.pictures]


@pytest.mark.parametrize("variant", ["10k", "tc10"])
def test_published_tag_vectors_say_the_same_as_the_tags(miniature: Path, variant: str) -> None:
    part = nus_wide(miniature, variant, "tags1k").part("test")
    assert part.text.shape == (len(part.captions), 1000)
    found = [{f"tag{tag}" for tag in row.nonzero().flatten().tolist()} for row in part.text]
    assert found == [set(caption.split()) for caption in part.captions]
    assert set(part.text.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("block", [7, 4096])
def test_tag_vectors_do_not_depend_on_the_block_in_which_the_file_is_read(
    miniature: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = miniature / "Groundtruth/AllLabels/Labels_sky.txt"
    expected = labels(miniature, ("sky",))[:, 0]
    monkeypatch.setattr(module, "_BLOCK", block)
    found = module._ones_by_row(file, published.PHOTOS, 1)
    assert (found.toarray()[:, 0] > 0).tolist() == expected.tolist()


@pytest.mark.parametrize(("variant", "number"), [("tc10", 10), ("tc21", 21)])
def test_multi_label_classes_are_the_most_frequent_concepts(miniature: Path, variant: str, number: int) -> None:
    counts = labels(miniature, tuple(published.CONCEPTS)).sum(0)
    ours = nus_wide(miniature, variant).classes
    assert len(ours) == number
    frequent = [counts[published.CONCEPTS.index(concept)] for concept in ours]
    assert frequent == sorted(counts, reverse=True)[:number]


@pytest.mark.parametrize("variant", ["tc10", "tc21"])
def test_multi_label_queries_are_answered_from_all_other_photos(miniature: Path, variant: str) -> None:
    data = nus_wide(miniature, variant)
    part = data.part("test")
    of = dict(zip(lines(miniature), labels(miniature, data.classes), strict=True))
    assert part.label.tolist() == [of[file].astype(float).tolist() for file in part.image_names]
    queries = {photo_id(file) for file, asks in zip(part.image_names, part.query.tolist(), strict=True) if asks}
    gallery = listed_ids(data, "test") - queries
    train, val = listed_ids(data, "train"), listed_ids(data, "val")
    assert train | val < gallery
    assert not train & val
    untagged = {photo_id(lines(miniature)[row]) for row in published.UNTAGGED}
    assert queries | gallery == {photo_id(file) for file, label in of.items() if label.any()} - untagged
    assert data.part("val").query is None


def test_tc10_queries_are_the_first_hundredth(miniature: Path) -> None:
    part = nus_wide(miniature, "tc10").part("test")
    order = sorted(part.image_names, key=draw)
    expected = set(order[: len(order) // 100])
    assert {name for name, asks in zip(part.image_names, part.query.tolist(), strict=True) if asks} == expected


def test_tc21_has_the_wanted_number_of_each_class(miniature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_QUERIES_PER_CLASS", 3)
    monkeypatch.setattr(module, "_TRAIN_PER_CLASS", 6)
    monkeypatch.setattr(module, "_VALIDATION", 100)
    data = nus_wide(miniature, "tc21")
    part = data.part("test")
    assert int(part.query.sum()) == 3 * 21
    assert (part.label[part.query].sum(0) >= 3).all()
    assert data.part("train").num_images == 6 * 21
    assert (data.part("train").label.sum(0) >= 6).all()
    assert data.part("val").num_images == 100
    others = part.num_images - 63
    assert data.split_name == (
        f"tc21, selected by our own rule: 126 train, 100 val, 63 test queries in a gallery of {others} others"
    )


def test_test_measures_queries_against_the_gallery_alone(miniature: Path) -> None:
    data = nus_wide(miniature, "tc10")
    model = Random(data.spec)
    trainer().test(model, data, verbose=False)
    part = data.part("test")
    queries = int(part.query.sum())
    label = part.label.bool()
    relevant = (label[part.query].float() @ label[~part.query].float().T > 0).sum(1)
    assert model.measurement is not None
    for direction in ("i2t", "t2i"):
        ranks = model.measurement.ranks[f"{direction}/cos/label"]
        assert ranks.num_queries == queries
        assert ranks.gallery_size == part.num_images - queries
        assert ranks.num_relevant.tolist() == relevant.tolist()


def test_split_is_the_same_whatever_encoders_are_fed_with(miniature: Path) -> None:
    variants = [nus_wide(miniature, variant).split.checksum for variant in ("10k", "tc10", "tc21")]
    assert len(set(variants)) == 3
    assert nus_wide(miniature, "tc21", "tags1k").split.checksum == variants[2]


def test_pictures_are_those_of_the_list(tmp_path: Path) -> None:
    published.write(tmp_path, pictures=True)
    data = nus_wide(tmp_path)
    names = data.listing("train").pictures
    there = [row for row, name in enumerate(names) if (tmp_path / name).is_file()]
    assert there
    assert data.picture("train", there[0]).shape == (16, 24, 3)
    assert data.picture("train", len(names) - 1) is None
