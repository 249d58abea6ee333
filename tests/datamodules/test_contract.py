"""What holds for every data set that is read from files, on its miniature."""

import os
import shutil
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.base import CrossModalData, class_counts
from datamodules.facts import absent
from datamodules.families.composed_data import ComposedPart
from datamodules.families.listed_data import PARTS
from datamodules.inputs.pictures import Pictures
from datamodules.reading.content import form
from tests.datamodules.published import DATASETS
from tests.datamodules.published.invention import SMALL, Expected

SPLITS = [(name, split) for name, module in DATASETS.items() for split in module.SPLITS]
UNREAD = {"ConceptsList/Concepts81.txt", "ExpertAnnotations.txt", "CrowdFlowerAnnotations.txt"}
"""Files that the settings of this test do not read."""


def load(root: Path, name: str, **settings: Any) -> CrossModalData:
    return DATASETS[name].load(root / name, **settings)


def linked(root: Path, target: Path) -> Path:
    """Return a copy made of links, from which a test may remove files."""
    copy = Path(shutil.copytree(root, target, copy_function=os.symlink))
    facts = load(root.parent, root.name).facts
    for origin in set(facts.origins) - set(facts.layout(root)):
        for path in origin.holds:
            (copy / path).unlink(missing_ok=True)
    return copy


def files(name: str, root: Path) -> list[tuple[str, dict[str, str]]]:
    """List what the facts name and a data set needs, with the settings under which it needs it."""
    facts = load(root, name).facts
    held = [path for origin in facts.layout(root / name) for path in origin.holds]
    settings = {path: dict([need.split(": ")]) for path, need in facts.optional.items() if ": " in need}
    needed = [path for path in held if path in settings or path not in facts.optional]
    there = [path for path in needed if path not in UNREAD and not absent(root / name, [path])]
    return [(path, settings.get(path, {})) for path in there]


def read_all(data: CrossModalData) -> None:
    for part in PARTS:
        data.part(part)


@pytest.fixture(params=SPLITS, ids=lambda case: "-".join([case[0], *map(str, case[1].settings.values())]))
def split(request: pytest.FixtureRequest, invented_data: Path) -> Iterator[tuple[CrossModalData, Expected]]:
    name, expected = request.param
    yield load(invented_data, name, **expected.settings), expected


def test_parts(split: tuple[CrossModalData, Expected]) -> None:
    data, expected = split
    parts = {name: data.part(name) for name in PARTS}
    assert tuple(part.num_images for part in parts.values()) == expected.sizes
    for part in parts.values():
        assert len(part.image_names) == len(part.label) == part.num_images
        assert len(part.captions) == len(part.owner) == part.num_texts
        assert part.label.dtype == (torch.int64 if part.label.ndim == 1 else torch.float32)
        assert 0 <= int(part.owner.min()) <= int(part.owner.max()) < part.num_images
        if isinstance(part, ComposedPart):
            assert not bool((part.owner == part.target).any())
        else:
            assert part.owner.unique().tolist() == list(range(part.num_images))
    shared = {f"{a}+{b}" for a, b in combinations(PARTS, 2) if set(parts[a].image_names) & set(parts[b].image_names)}
    assert shared == set(expected.shared.split())


def test_names_and_checksums_of_splits_are_what_they_always_were(split: tuple[CrossModalData, Expected]) -> None:
    data, expected = split
    assert (data.split.name, data.split.checksum) == (expected.name, expected.checksum)


def test_spec_is_that_of_the_training_part(split: tuple[CrossModalData, Expected]) -> None:
    data, _ = split
    train = data.part("train")
    assert data.spec.num_images == train.num_images
    assert data.spec.num_classes == len(data.classes)
    assert data.spec.class_counts == class_counts(train.label, len(data.classes))
    assert data.spec.multi_label == (train.label.ndim == 2)
    assert data.spec.image == form(train.image)
    assert all(form(data.part(name).image) == data.spec.image for name in PARTS)


@pytest.mark.parametrize("name", DATASETS)
def test_batches(name: str, invented_data: Path) -> None:
    data = load(invented_data, name, batch_size=8)
    batch = next(iter(data.train_dataloader()))
    assert len(batch.image) == len(batch.label) == len(batch.image_id) == 8
    for part, loaders in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
        sizes = [sum(len(items.position) for items in loader) for loader in loaders]
        assert sizes == [data.part(part).num_images, data.part(part).num_texts]  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_file_is_named_with_the_command_that_gets_it(name: str, invented_data: Path, tmp_path: Path) -> None:
    for number, (path, settings) in enumerate(files(name, invented_data)):
        root = linked(invented_data / name, tmp_path / str(number) / name)
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
        with pytest.raises(UserError) as raised:
            read_all(load(root.parent, name, **settings))
        message = str(raised.value)
        assert path in message
        if "pictures are missing" not in message:
            assert message.endswith(f". `python -m cmr_lightning prepare {name}` gets it or says how.")


@pytest.mark.parametrize("name", DATASETS)
def test_a_file_that_was_cut_short_is_refused(name: str, invented_data: Path, tmp_path: Path) -> None:
    for number, (path, settings) in enumerate(files(name, invented_data)):
        root = linked(invented_data / name, tmp_path / str(number) / name)
        if (root / path).is_file():
            content = (root / path).read_bytes()
            (root / path).unlink()
            (root / path).write_bytes(content[: len(content) // 2])
            with pytest.raises(UserError, match=rf"{root}.*cmr_lightning prepare {name}` gets it or says how"):
                read_all(load(root.parent, name, **settings))


# the list of MIT-States is the folder, in which no picture can be missing
@pytest.mark.parametrize("name", [n for n, module in DATASETS.items() if "SMALL" in vars(module) and n != "mit_states"])
def test_missing_pictures_are_refused_or_left_out_with_their_texts(
    name: str, invented_data: Path, tmp_path: Path
) -> None:
    whole = load(invented_data, name).part("test")
    total = sum(DATASETS[name].SPLITS[0].sizes)
    data: Any = load(invented_data, name)
    gone = data.listing("test").pictures[0]
    root = linked(invented_data / name, tmp_path / name)
    (root / gone).unlink()
    with pytest.raises(UserError, match=rf"1 of \d+ pictures are missing in .*, first {gone}; .*data\.image\.missing"):
        load(tmp_path, name).part("test")
    skipping = load(tmp_path, name, image=Pictures(SMALL.crop, SMALL.resize, missing="skip"))
    part = skipping.part("test")
    assert part.image_names == whole.image_names[1:]
    kept = whole.owner != 0
    if isinstance(whole, ComposedPart):
        kept &= whole.target != 0
    assert part.captions == tuple(text for text, stays in zip(whole.captions, kept.tolist(), strict=True) if stays)
    assert skipping.split.name.endswith(f", 1 of {total} pictures left out")


def test_without_its_folder_a_data_set_names_it(tmp_path: Path) -> None:
    for name in DATASETS:
        with pytest.raises(UserError, match=rf"nowhere/{name}.* (does not exist|is missing)"):
            load(tmp_path / "nowhere", name).part("train")
