import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.css3d import CSS3D
from datamodules.drawn.flat_scenes import COLOURS, draw
from datamodules.families.listed_data import PARTS
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.inputs.pictures import Pictures
from datamodules.reading.content import take
from tests.datamodules.published.css3d import FILE, invent, load, python2_npy


def number(picture: str) -> int:
    return int(picture[-10:-4])


def asked(data: CSS3D, part: Any) -> list[tuple[int, str, int]]:
    """Queries by the numbers of their pictures."""
    listing = data.listing(part)
    owner, target = listing.owner.tolist(), listing.target.tolist()
    names = [number(picture) for picture in listing.pictures]
    return [(names[a], text, names[b]) for a, text, b in zip(owner, listing.captions, target, strict=True)]


def published(part: str, keep: Any = lambda n: True) -> list[tuple[int, str, int]]:
    return [
        (a, modification["to_str"], b)
        for n, modification in enumerate(invent(part)["mods"])
        if keep(n)
        for a, b in zip(modification["from"], modification["to"], strict=True)
    ]


def test_test_queries_are_all_sources_of_all_modifications(data: CSS3D) -> None:
    assert asked(data, "test") == published("test")
    assert [number(picture) for picture in data.listing("test").pictures] == list(range(len(invent("test")["labels"])))


def test_every_tenth_modification_is_held_out(data: CSS3D) -> None:
    assert len(invent("train")["mods"]) == 10
    assert asked(data, "val") == published("train", lambda n: n == 9)
    shown = {number(picture) for picture in data.listing("val").pictures}
    assert shown == {n for a, _, b in asked(data, "val") for n in (a, b)}
    assert set(asked(data, "train")) <= set(published("train", lambda n: n != 9))


@pytest.mark.parametrize("part", PARTS)
def test_renderings_of_one_scene_are_right_alike(data: CSS3D, part: Any) -> None:
    listing = data.listing(part)
    labels = invent("test" if part == "test" else "train")["labels"]
    scenes = [labels[number(picture)] for picture in listing.pictures]
    same = listing.keys["caption"][:, None] == listing.keys["caption"][None]
    assert same.tolist() == [[a == b for b in scenes] for a in scenes]


def test_scenes_without_labels_are_all_different(data: CSS3D, tmp_path: Path) -> None:
    content = {part: invent(part) for part in ("train", "test")}
    del content["test"]["labels"]
    (tmp_path / FILE).write_bytes(python2_npy(content))
    listing = load(tmp_path).list_part("test")
    assert len(listing.keys["caption"].unique()) == len(listing.pictures)


def test_an_epoch_asks_twice_from_a_source_by_different_modifications(data: CSS3D) -> None:
    part = data.part("train")
    epochs = [data.epoch(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert epochs[0].captions == epochs[1].captions != epochs[2].captions
    names = [number(picture) for picture in data.listing("train").pictures]
    possible = set(published("train", lambda n: n != 9))
    for epoch in epochs:
        assert epoch.num_texts == part.num_texts == part.num_images
        queries = list(zip(epoch.owner.tolist(), epoch.captions, epoch.target.tolist(), strict=True))
        assert {(names[a], text, names[b]) for a, text, b in queries} <= possible
        for (a, text, _), (b, other, _) in zip(queries[::2], queries[1::2], strict=True):
            assert a == b
            assert text != other


def test_modifications_are_drawn_alike_whatever_their_number_of_sources(data: CSS3D) -> None:
    """The first query of each two; the second one depends on it."""
    epochs = [data.epoch(torch.Generator().manual_seed(seed)) for seed in range(40)]
    drawn = Counter(caption for epoch in epochs for caption in epoch.captions[::2])
    total = sum(drawn.values())
    assert len(drawn) == 9
    assert all(count / total == pytest.approx(1 / 9, abs=0.035) for count in drawn.values())


def test_queries_are_drawn_from_the_pictures_that_are_there(data: CSS3D, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(data.root, root)
    (root / data.listing("train").pictures[0]).unlink()
    total = len(data.listing("train").pictures)
    left = load(root, image=Pictures(crop=16, resize=16, missing="skip"))
    epoch = left.epoch(torch.Generator().manual_seed(0))
    assert epoch.num_texts == left.part("train").num_texts < total
    assert int(epoch.owner.max()) < left.part("train").num_images == total - 1


def test_drawings_are_as_tirg_makes_them() -> None:
    """By loops over all pixels, from the formulas of the card."""
    scene = [
        {"size": "large", "color": "red", "shape": "rectangle", "pos": [0.25, 0.25]},
        {"size": "small", "color": "blue", "shape": "circle", "pos": [0.5, 0.75]},
        {"size": "large", "color": "yellow", "shape": "triangle", "pos": [0.75, 0.5]},
    ]
    picture = draw(scene)
    for row in range(64):
        for column in range(64):
            expected = (255, 255, 255)
            if 8 <= row < 24 and 8 <= column < 24:
                expected = COLOURS["red"]
            reach = 4 - abs(row - 32)
            if reach > 0 and 48 - reach <= column < 48 + reach:
                expected = COLOURS["blue"]
            reach = (row - 40) / 2
            if 40 <= row < 56 and int(32 - reach) <= column < int(32 + reach):
                expected = COLOURS["yellow"]
            assert tuple(picture[row, column]) == expected, (row, column)


def test_a_drawing_at_the_edge_stays_inside() -> None:
    for shape in ("rectangle", "circle", "triangle"):
        picture = draw([{"size": "large", "color": "gray", "shape": shape, "pos": [0.0, 1.0]}])
        inked = (picture != 255).any(2)
        assert inked.any()
        assert not inked[16:].any()
        assert not inked[:, :32].any()


def test_queries_start_from_drawings_and_are_answered_by_renderings(data: CSS3D) -> None:
    flat = load(data.root, sources="flat")
    for of in (data, flat):
        images, queries = of.test_dataloader()
        assert torch.equal(next(iter(images)).content, next(iter(data.test_dataloader()[0])).content)
        assert next(iter(queries)).content.source.shape == (20, 3, 16, 16)  # type: ignore[union-attr]
    source = take(flat.part("test").starts, flat.part("test").owner[:1])
    scene = invent("test")["objects_img"][int(flat.part("test").owner[0])]
    enlarged = torch.from_numpy(draw(scene)[2::4, 2::4]).permute(2, 0, 1)
    assert torch.equal(source[0], enlarged)
    assert flat.epoch(torch.Generator()).sources is not None
    assert flat.features.endswith("flat drawings")
    assert flat.checksum() != data.checksum()


def test_drawings_are_no_features(data: CSS3D, tmp_path: Path) -> None:
    names = sorted({name for part in PARTS for name in data.listing(part).pictures})
    np.savez(tmp_path / "f.npz", names=np.array(names), features=np.zeros((len(names), 4), np.float32))
    flat = load(data.root, image=FeatureArchive(str(tmp_path / "f.npz")), sources="flat")
    with pytest.raises(UserError, match=r"set data\.image to Pictures"):
        flat.part("test")
