import pytest
import torch

from cmr_lightning.batch import Pixels
from datamodules.drawn.scenes import KINDS
from datamodules.shapes_composed import ShapesComposed


def small(**arguments):
    return ShapesComposed(**{"num_train": 12, "num_val": 6, "num_test": 4, "modifications": 5, **arguments})


@pytest.fixture(scope="module")
def data():
    return small()


def test_a_part_is_whole(data):
    part = data.part("train")
    assert part.image.shape == (12 * 6, 3, 32, 32)
    assert part.image.dtype == torch.uint8
    assert part.num_texts == 12 * 5 == len(part.captions)
    assert len(set(part.image_names)) == part.num_images == len(part.image_names)
    assert data.spec.image == Pixels(32)
    assert data.spec.text.vocabulary == len(data.vocabulary) > 10


def test_the_first_texts_are_what_they_always_were(data):
    """Results are comparable only while the data set stays the same; a change here makes another data set."""
    assert data.part("train").captions[:5] == (
        "make the small white circle large",
        "make the small yellow triangle white",
        "remove the large red circle",
        "add a large yellow square to the middle left",
        "move the large red circle to the top left",
    )


def test_every_query_of_a_source_has_a_target_of_its_own(data):
    for name in ("train", "val", "test"):
        part = data.part(name)
        scene = part.keys["caption"]
        for source in part.owner.unique():
            targets = scene[part.target[part.owner == source]].tolist()
            assert len(set(targets)) == 5
            assert int(scene[source]) not in targets


def test_texts_say_what_changes(data):
    """The kinds of shapes that a text adds, takes away or recolours are told from the labels of both pictures."""
    part = data.part("train")
    for text, source, target in zip(part.captions, part.owner, part.target, strict=True):
        before, after = part.label[source].bool(), part.label[target].bool()
        gone = {" ".join(KINDS[k]) for k in (before & ~after).nonzero().flatten()}
        come = {" ".join(KINDS[k]) for k in (after & ~before).nonzero().flatten()}
        assert all(kind in text for kind in gone), (text, gone)
        if text.startswith("add") or (text.startswith("make") and come):
            assert all(kind.split()[0] in text for kind in come), (text, come)
        if text.startswith("move") or text.endswith(("large", "small")):
            assert not gone
            assert not come


def test_pictures_of_a_source_and_its_target_differ(data):
    part = data.part("val")
    difference = (part.image[part.owner].float() - part.image[part.target].float()).abs().amax((1, 2, 3))
    assert (difference > 40).all()


def test_data_depend_on_their_seed_alone_and_sources_not_on_the_sizes(data):
    again, larger, other = small(), small(num_train=20), small(seed=1)
    assert data.checksum() == again.checksum() != other.checksum()
    assert larger.part("train").captions[:60] == data.part("train").captions
    assert torch.equal(larger.part("train").image[:72], data.part("train").image)
    assert data.split != other.split


def test_pictures_are_shown_as_encoders_see_them(data):
    assert torch.equal(torch.from_numpy(data.picture("test", 3)), data.part("test").image[3].permute(1, 2, 0))


def test_as_many_modifications_as_allowed_exist_for_every_source():
    part = small(num_train=40, modifications=32).part("train")
    assert part.num_texts == 40 * 32
