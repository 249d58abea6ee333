import re

import numpy as np
import pytest
import torch

import datamodules.shapes
from cmr_lightning.batch import Pixels, Tokens, Words
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL, INSTANCE_LEVEL, LABELLED_PAIRS
from datamodules.drawn.scenes import CAPTIONS, COLOURS, KINDS, SHAPES
from datamodules.shapes import Shapes
from datamodules.shapes_composed import ShapesComposed


def small(**arguments):
    return Shapes(**{"num_train": 60, "num_val": 40, "num_test": 20, "batch_size": 16, **arguments})


def test_a_part_is_whole():
    part = small().part("train")
    assert part.image.shape == (60, 3, 48, 48)
    assert part.image.dtype == torch.uint8
    assert part.num_texts == 60 * CAPTIONS == len(part.captions)
    assert part.label.dtype == torch.int64
    assert part.owner.tolist() == [i for i in range(60) for _ in range(CAPTIONS)]
    assert len(set(part.image_names)) == 60
    assert part.image_names[7] == "shapes-0-train-00007"


def test_the_first_captions_are_what_they_always_were():
    """Results are comparable only while the data set stays the same; a change here makes another data set."""
    assert small().part("train").captions[:CAPTIONS] == (
        "a blue triangle and a blue ball in the air and a tiny navy plus on the grass",
        "a scarlet disc to the right of a navy plus",
        "a tiny blue wedge at the top right and a tiny blue disc at the upper left",
        "a big red circle and three smaller shapes, one of them a ball",
        "a disc, a cross, a navy wedge and a small blue disc",
    )


def test_parts_are_drawn_on_demand(monkeypatch):
    drawn, stream = set(), datamodules.shapes.stream

    def spy(seed, part, *key):
        drawn.add(part)
        return stream(seed, part, *key)

    monkeypatch.setattr(datamodules.shapes, "stream", spy)
    data = small()
    _ = data.spec, data.train_dataloader(), data.split
    assert drawn == {"train"}
    small().val_dataloader()
    assert drawn == {"train", "val"}  # the vocabulary comes from the training captions
    small().test_dataloader()
    assert drawn == {"train", "val", "test"}


def test_data_follow_their_own_seed_only():
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    first = small().checksum()
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    before = torch.random.get_rng_state()
    assert small().checksum() == first
    assert torch.equal(torch.random.get_rng_state(), before)
    assert small(seed=1).checksum() != first


def test_captions_do_not_depend_on_the_size_of_pictures_nor_pictures_on_how_many_there_are():
    larger, usual = small(picture_size=32).part("val"), small().part("val")
    assert larger.image.shape == (40, 3, 32, 32)
    assert larger.captions == usual.captions
    few, many = small(num_train=30, num_test=20), small(num_train=60, num_test=50)
    for name, n in (("train", 30), ("val", 40), ("test", 20)):
        a, b = few.part(name), many.part(name)
        assert torch.equal(a.image[:n], b.image[:n])
        assert torch.equal(a.label[:n], b.label[:n])
        assert a.captions[: n * CAPTIONS] == b.captions[: n * CAPTIONS]


def test_parts_differ():
    data = small(num_val=60, num_test=60)
    train, val, test = (data.part(name).image for name in ("train", "val", "test"))
    assert not any(torch.equal(*pair) for pair in zip(train, val, strict=True))
    assert not any(torch.equal(*pair) for pair in zip(val, test, strict=True))


def test_every_part_has_every_class_equally_often():
    data = small()
    assert data.classes[:2] == ("red circle", "red square")
    for name, n in (("train", 3), ("val", 2), ("test", 1)):
        assert torch.bincount(data.part(name).label).tolist() == [n] * len(KINDS)


def test_class_labels_name_the_large_thing():
    data = small()
    part = data.part("train")
    large = re.compile(f"(?:large|big|huge) ((?:{'|'.join(COLOURS)}) (?:{'|'.join(SHAPES)}))")
    named = [(owner, large.search(text)) for owner, text in zip(part.owner, part.captions, strict=True)]
    assert sum(found is not None for _, found in named) > 10
    assert all(data.classes[part.label[owner]] == found[1] for owner, found in named if found)


def test_attribute_labels_are_everything_present():
    multi, single = small(level="attribute").part("val"), small().part("val")
    assert multi.label.shape == (40, len(KINDS))
    assert multi.label.dtype == torch.float32
    assert set(multi.label.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(multi.image, single.image)
    assert multi.label[torch.arange(40), single.label].all()
    present = multi.label.sum(1)
    assert present.min() >= 1
    assert present.max() <= 4


def test_levels_choose_the_protocols():
    assert small().protocols == small(level="attribute").protocols == LABELLED_PAIRS
    instance = small(level="instance")
    assert instance.protocols == INSTANCE_LEVEL + CLASS_LEVEL
    assert torch.equal(instance.part("val").label, small().part("val").label)


def test_words_are_numbered_from_training_captions():
    data = small(num_train=20, num_val=300)
    known = set(data.vocabulary.words)
    val = data.part("val")
    assert isinstance(val.text, Tokens)
    assert val.text.ids.shape == (1500, data.text_length)
    strangers = [any(word not in known for word in caption.replace(",", "").split()) for caption in val.captions]
    assert any(strangers)
    assert strangers == (val.text.ids == 3).any(1).tolist()


def test_longest_training_caption_is_never_cut():
    text = small().part("train").text
    assert text.mask.sum(1).max() == text.ids.shape[1]
    assert ((text.ids == 2).sum(1) == 1).all()


def test_spec():
    data = small()
    spec = data.spec
    assert spec.image == Pixels(48)
    assert spec.text == Words(len(data.vocabulary), data.text_length)
    assert spec.num_classes == 20
    assert spec.class_counts == (3,) * 20
    assert spec.num_images == 60
    assert not spec.multi_label
    assert small(level="attribute").spec.multi_label


def test_split_features_and_picture():
    data = small()
    assert data.split.name == "seed 0, 60/40/20"
    assert len({data.split.checksum, small(seed=1).split.checksum, small(num_test=21).split.checksum}) == 3
    assert data.features == "48 px pictures, words"
    picture = data.picture("val", 3)
    assert picture.shape == (48, 48, 3)
    assert np.array_equal(picture, data.part("val").image[3].permute(1, 2, 0))


@pytest.mark.parametrize(
    ("kind", "name", "value", "bounds"),
    [
        (Shapes, "num_train", 0, "should be greater than or equal to 1"),
        (Shapes, "num_val", -1, "should be greater than or equal to 1"),
        (Shapes, "picture_size", 8, "should be greater than or equal to 16"),
        (Shapes, "seed", -1, "should be greater than or equal to 0"),
        (Shapes, "level", "'object'", "must be one of class, attribute, instance"),
        (ShapesComposed, "num_train", 0, "should be greater than or equal to 1"),
        (ShapesComposed, "modifications", 33, "should be less than or equal to 32"),
    ],
)
def test_impossible_settings_are_refused(kind, name, value, bounds):
    with pytest.raises(UserError, match=rf"{name} .*is {value}, but {bounds}"):
        kind(**{name: value if isinstance(value, int) else "object"})


def test_a_part_too_small_for_the_classes_is_refused():
    with pytest.raises(UserError, match="white cross"):
        small(num_val=19).part("val")
