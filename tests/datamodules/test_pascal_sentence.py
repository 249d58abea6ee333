import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import datamodules.pascal_sentence
from cmr_lightning.batch import Features
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL
from datamodules.committed_splits import read_split
from datamodules.pascal_sentence import PascalSentence
from tests.datamodules.published.pascal_sentence import FEATURES as PASCAL_FEATURES
from tests.datamodules.published.pascal_sentence import write as write_pascal_sentence

PARTS = ("train", "val", "test")
PER_CLASS = {"train": 40, "val": 5, "test": 5}
CARD = Path(datamodules.pascal_sentence.__file__).parent / "cards" / "pascal_sentence.md"
CHECKSUMS = ("db7741d8131e7eae", "9f3eef9d85ef716b", "0ac6109fea40f931", "a1f35f2bf7125148", "153d9e815e2a4216")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "pascal_sentence"
    write_pascal_sentence(root, pictures=True)
    return root


@pytest.fixture
def root(published, tmp_path):
    """A copy, without pictures, that a test may spoil."""
    return shutil.copytree(published, tmp_path / "pascal", ignore=shutil.ignore_patterns("images"))


@pytest.fixture(scope="module")
def real():
    if "CMR_DATA" not in os.environ:
        pytest.skip("CMR_DATA names no folder of real data")
    return Path(os.environ["CMR_DATA"]) / "pascal_sentence"


def change_sentences(root, edit):
    path = root / "pascal_sentences.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def change_features(root, edit):
    path = root / "mobilenetv2_features.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    edit(arrays)
    np.savez(path, **arrays)


def check_split(root, number):
    data = PascalSentence(str(root), split=number)
    parts = {name: data.part(name) for name in PARTS}
    sentences = json.loads((root / "pascal_sentences.json").read_text())
    assert len({name for part in parts.values() for name in part.image_names}) == 1000
    for name, part in parts.items():
        assert torch.bincount(part.label).tolist() == [PER_CLASS[name]] * 20
        assert part.image.dtype == part.text.dtype == torch.float32
        assert part.num_images == part.num_texts
        assert torch.equal(part.owner, torch.arange(part.num_images))
        torch.testing.assert_close(part.text.norm(dim=1), torch.ones(part.num_texts))
        for row, (file, label) in enumerate(zip(part.image_names, part.label.tolist(), strict=True)):
            assert sentences[file]["category"] == data.classes[label]
            assert part.captions[row] == sentences[file]["captions"][0]


@pytest.mark.parametrize("number", range(5))
def test_splits(published, number):
    check_split(published, number)


@pytest.mark.parametrize("number", range(5))
def test_splits_of_the_real_data(real, number):
    check_split(real, number)


def test_spec_and_protocols(published):
    data = PascalSentence(str(published))
    words = data.spec.text.size
    assert data.spec.image == Features(PASCAL_FEATURES)
    assert data.spec.text == Features(words)
    assert all(data.part(name).text.shape[1] == words for name in PARTS)
    assert (data.spec.num_classes, data.spec.class_counts, data.spec.num_images) == (20, (40,) * 20, 800)
    assert not data.spec.multi_label
    assert data.protocols == CLASS_LEVEL
    assert data.classes == tuple(sorted(data.classes))


@pytest.mark.parametrize("number", range(5))
def test_checksums_of_splits(tmp_path, number):
    """The split is known before the files are there."""
    split = PascalSentence(str(tmp_path / "nowhere"), split=number).split
    assert split.name == f"{number} of 5, 800/100/100"
    assert split.checksum == CHECKSUMS[number]
    assert split.checksum in CARD.read_text()


def test_image_features_are_found_by_name(root):
    before = PascalSentence(str(root)).part("val").image

    def shuffle(arrays):
        order = np.random.default_rng(1).permutation(1000)
        arrays.update(names=arrays["names"][order], features=arrays["features"][order])

    change_features(root, shuffle)
    after = PascalSentence(str(root)).part("val")
    assert torch.equal(after.image, before)
    with np.load(root / "mobilenetv2_features.npz") as archive:
        row = archive["names"].tolist().index(after.image_names[0])
        np.testing.assert_array_equal(after.image[0], archive["features"][row].astype(np.float32))


def test_image_features_may_be_anywhere(root, tmp_path):
    elsewhere = shutil.move(root / "mobilenetv2_features.npz", tmp_path / "other.npz")
    data = PascalSentence(str(root), image_features=str(elsewhere))
    assert data.part("val").image.shape == (100, PASCAL_FEATURES)
    assert "other.npz" in data.features


def test_real_features_and_words(real):
    spec = PascalSentence(str(real)).spec
    assert spec.image == Features(1280)
    assert 1000 < spec.text.size < 1500


def test_words_come_from_training_texts_alone(root):
    """Other words in validation and test texts change neither the training vectors nor their size."""
    before = {name: PascalSentence(str(root)).part(name).text for name in PARTS}
    held_out = [
        file
        for name in ("val", "test")
        for of in read_split("pascal_sentence_0")["parts"][name].values()
        for file in of
    ]
    change_sentences(root, lambda content: [content[file]["captions"].append("zebra grass zebra") for file in held_out])
    after = {name: PascalSentence(str(root)).part(name).text for name in PARTS}
    assert torch.equal(after["train"], before["train"])
    assert after["test"].shape == before["test"].shape
    assert not torch.equal(after["test"], before["test"])
    assert not torch.equal(after["val"], before["val"])


def test_words_do_not_depend_on_what_is_read_first(published):
    first = PascalSentence(str(published))
    test = first.part("test").text
    second = PascalSentence(str(published))
    second.part("train")
    assert torch.equal(second.part("test").text, test)


def test_a_text_is_all_its_sentences(root):
    """A sentence counts wherever it stands, and only the first is shown."""
    file = PascalSentence(str(root)).part("train").image_names[0]
    before = PascalSentence(str(root)).part("train")
    change_sentences(root, lambda content: content[file]["captions"].append(content[file]["captions"].pop(1)))
    moved = PascalSentence(str(root)).part("train")
    assert torch.equal(moved.text, before.text)
    change_sentences(root, lambda content: content[file].update(captions=content[file]["captions"][:1]))
    cut = PascalSentence(str(root)).part("train")
    assert cut.captions == before.captions
    assert not torch.equal(cut.text[0], before.text[0])


def test_text_settings_change_the_texts(published):
    def size(**settings):
        return PascalSentence(str(published), **settings).spec.text.size

    assert size(stop_words=None) == size() + 1  # of the invented words only "the" is on the list; "a" is too short
    assert size(max_features=50) == 50
    assert size(min_df=30) < size()
    data = PascalSentence(str(published), sublinear=False)
    assert data.spec.text.size == size()
    assert not torch.equal(data.part("val").text, PascalSentence(str(published)).part("val").text)


def test_features_say_what_was_set(published):
    words = PascalSentence(str(published), stop_words=None, sublinear=False, min_df=3, max_features=7).features
    assert "mobilenetv2_features.npz" in words
    assert "all words, count n, words of at least 3 training texts, at most 7" in words
    assert "English stop words dropped, count 1 + ln n" in PascalSentence(str(published)).features


def test_pictures(published, root):
    data = PascalSentence(str(published))
    assert data.picture("test", 99).shape == (16, 24, 3)
    assert data.picture("test", 99).dtype == np.uint8
    assert PascalSentence(str(root)).picture("test", 99) is None


def test_real_pictures(real):
    assert min(PascalSentence(str(real)).picture("test", 0).shape[:2]) == 224


def test_test_items_are_behind_the_wall(root):
    """Training and validation are read the same, whatever the test items hold."""
    before = {name: PascalSentence(str(root)).part(name) for name in ("train", "val")}
    test = [file for of in read_split("pascal_sentence_0")["parts"]["test"].values() for file in of]
    change_sentences(root, lambda content: [content.pop(file) for file in test[1:]])
    change_features(
        root, lambda arrays: arrays["features"].__setitem__(np.isin(arrays["names"], test), np.float16("nan"))
    )
    data = PascalSentence(str(root))
    for name, part in before.items():
        assert torch.equal(data.part(name).image, part.image)
        assert torch.equal(data.part(name).text, part.text)
    with pytest.raises(UserError):
        data.test_dataloader()


@pytest.mark.parametrize("number", [-1, 5])
def test_there_are_five_splits(tmp_path, number):
    with pytest.raises(UserError, match=rf"data\.split is {number}, but Pascal Sentence has the splits 0 to 4"):
        PascalSentence(str(tmp_path), split=number)


@pytest.mark.parametrize(
    ("name", "source"),
    [("pascal_sentences.json", "Pascal_Sentence_Dataset-downloader"), ("mobilenetv2_features.npz", "image_features")],
)
def test_a_missing_file_is_named_with_its_source(root, name, source):
    (root / name).unlink()
    with pytest.raises(UserError, match=rf"{name} is missing; .*{source}.*data\.root"):
        PascalSentence(str(root)).part("train")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere, given as data\.root, does not exist"):
        PascalSentence(str(tmp_path / "nowhere")).part("train")


def test_truncated_files_are_refused(root):
    for name, message in (("pascal_sentences.json", "is not JSON"), ("mobilenetv2_features.npz", "cannot be read as")):
        content = (root / name).read_bytes()
        (root / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(UserError, match=rf"{name} {message}"):
            PascalSentence(str(root)).part("train")
        (root / name).write_bytes(content)


def test_a_missing_image_is_named(root):
    file = PascalSentence(str(root)).part("train").image_names[3]
    change_sentences(root, lambda content: content.pop(file))
    with pytest.raises(UserError, match=rf"should have the 1000 published images and lacks {file}"):
        PascalSentence(str(root)).part("train")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"category": "zebra"}, "should have the category aeroplane and is .*zebra"),
        ({"captions": []}, "should have a list of sentences, none of them empty"),
        ({"captions": ["A plane.", " "]}, "should have a list of sentences, none of them empty"),
        ({"captions": "A plane."}, "should have a list of sentences"),
        ({"captions": [None]}, "should have a list of sentences"),
    ],
)
def test_a_wrong_record_is_named(root, edit, message):
    file = PascalSentence(str(root)).part("train").image_names[0]
    change_sentences(root, lambda content: content[file].update(edit))
    with pytest.raises(UserError, match=rf"pascal_sentences\.json: {file} {message}"):
        PascalSentence(str(root)).part("train")


def test_an_image_without_features_is_named(root):
    file = PascalSentence(str(root)).part("train").image_names[5]
    change_features(
        root, lambda arrays: arrays.update(names=np.where(arrays["names"] == file, "x.jpg", arrays["names"]))
    )
    with pytest.raises(UserError, match=rf"lacks 1 of the 800 images asked for, first {file}"):
        PascalSentence(str(root)).part("train")


def test_names_and_features_must_be_as_many(root):
    change_features(root, lambda arrays: arrays.update(features=arrays["features"][:-1]))
    with pytest.raises(UserError, match=r"names of shape \(1000,\) and features of shape \(999, 64\)"):
        PascalSentence(str(root)).part("train")


def test_missing_arrays_are_named(root):
    change_features(root, lambda arrays: arrays.pop("names"))
    with pytest.raises(UserError, match=r"cannot be read as a NumPy archive with the arrays names and features"):
        PascalSentence(str(root)).part("train")


def test_not_a_number_is_refused(root):
    file = PascalSentence(str(root)).part("val").image_names[0]
    change_features(root, lambda arrays: arrays["features"].__setitem__((arrays["names"] == file, 0), np.nan))
    with pytest.raises(UserError, match=r"features should hold finite numbers, but 1 rows"):
        PascalSentence(str(root)).part("val")


def test_no_words_left_is_said(published):
    with pytest.raises(UserError, match=r"leave no words for tf-idf with data\.min_df 801 .*; lower data\.min_df"):
        PascalSentence(str(published), min_df=801).part("train")
