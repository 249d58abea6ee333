import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from cmr_lightning.batch import Features, Pixels, Tokens
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import LABELLED_PAIRS
from datamodules.families.listed_data import PARTS
from datamodules.inputs.text_inputs import WordTokens, WordWeights
from datamodules.reading.committed_splits import read_split
from tests.datamodules.published.invention import SMALL
from tests.datamodules.published.pascal_sentence import SPLITS
from tests.datamodules.published.pascal_sentence import load as pascal
from tests.datamodules.published.pascal_sentence import write as write_pascal_sentence
from tests.datamodules.test_faulty_files import archive, entries


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "pascal_sentence"
    write_pascal_sentence(root, pictures=True)
    return root


@pytest.fixture(scope="module")
def in_folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "pascal_sentence"
    write_pascal_sentence(root, pictures=True, folders=True)
    return root


@pytest.fixture
def root(published, tmp_path):
    """A copy, without pictures, that a test may spoil."""
    return shutil.copytree(published, tmp_path / "pascal", ignore=shutil.ignore_patterns("images"))


def change(path, edit):
    path.write_bytes(edit(path.read_bytes()))


def change_sentences(root, edit):
    change(root / "pascal_sentences.json", entries(edit))


@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
@pytest.mark.parametrize("data_set", ["published", "real"])
def test_content_of_splits(request, data_set, split):
    """Every class has its share, and every text is that of its picture."""
    root = request.getfixturevalue(data_set)
    data = pascal(root, **split.settings)
    assert data.protocols == LABELLED_PAIRS
    assert data.classes == tuple(sorted(data.classes))
    sentences = json.loads((root / "pascal_sentences.json").read_text())
    for part in map(data.part, PARTS):
        assert torch.bincount(part.label).tolist() == [part.num_images // 20] * 20
        torch.testing.assert_close(part.text.norm(dim=1), torch.ones(part.num_texts))
        for row, (file, label) in enumerate(zip(part.image_names, part.label.tolist(), strict=True)):
            assert sentences[file]["category"] == data.classes[label]
            assert part.captions[row] == " ".join(sentences[file]["captions"])


def test_sizes_of_a_split_are_nested(published):
    """The 200 test images are the 200 that the same split with 100 does not train on."""
    small, large = (pascal(published, split=2, sizes=sizes) for sizes in ("800/100/100", "800/200-all"))
    assert large.listing("train").pictures == small.listing("train").pictures
    assert set(large.listing("test").pictures) == {*small.listing("val").pictures, *small.listing("test").pictures}


def test_both_layouts_say_the_same(published, in_folders):
    for joined in (True, False):
        one, other = (pascal(root, joined=joined) for root in (published, in_folders))
        assert one.split == other.split
        for name in PARTS:
            assert other.listing(name).captions == one.listing(name).captions
            assert other.part(name).image_names == one.part(name).image_names
            assert torch.equal(other.part(name).text, one.part(name).text)
            assert torch.equal(other.part(name).owner, one.part(name).owner)
        for row in (0, 99):
            assert np.array_equal(other.picture("test", row), one.picture("test", row))
    one, other = (pascal(root, image=SMALL).part("val").image for root in (published, in_folders))
    rows = torch.tensor([0, 50, 99])
    assert one.form == other.form == Pixels(16)
    assert torch.equal(one.rows(rows), other.rows(rows))


def test_a_text_may_be_a_sentence(published):
    data = pascal(published, joined=False, text=WordTokens())
    sentences = json.loads((published / "pascal_sentences.json").read_text())
    total = 0
    for name in PARTS:
        part = data.part(name)
        assert isinstance(part.text, Tokens)
        total += part.num_texts
        for file, texts in zip(part.image_names, torch.bincount(part.owner).tolist(), strict=True):
            assert texts == len(sentences[file]["captions"])
        assert part.captions[0] == sentences[part.image_names[0]]["captions"][0]
    assert total == sum(len(record["captions"]) for record in sentences.values()) == 4998
    assert "a text a sentence" in data.features


def test_all_sentences_of_the_real_data(real):
    """996 images have five sentences, three have four, one has six."""
    data = pascal(real, joined=False)
    counts = torch.cat([torch.bincount(data.listing(name).owner) for name in PARTS])
    assert torch.bincount(counts).tolist() == [0, 0, 0, 0, 3, 996, 1]


def test_a_missing_sentence_file_is_named(in_folders, tmp_path):
    root = shutil.copytree(in_folders, tmp_path / "pascal", ignore=shutil.ignore_patterns("dataset"))
    stem = Path(pascal(root).listing("train").pictures[0]).stem
    path = next(root.glob(f"sentence/aeroplane/{stem}*"))
    content = path.read_bytes()
    for wrong, message in (
        (None, rf"{stem}\.txt is missing; .*rupy/PascalSentenceDataset"),
        (b"\n \n", "should hold sentences and is empty"),
        (b"A caf\xe9.\n", "is not UTF-8 text"),
    ):
        path.unlink() if wrong is None else path.write_bytes(wrong)
        with pytest.raises(UserError, match=message):
            pascal(root).part("train")
        path.write_bytes(content)


def test_real_features_words_and_pictures(real):
    data = pascal(real)
    assert data.spec.image == Features(1280)
    assert 1000 < data.spec.text.size < 1500
    assert min(data.picture("test", 0).shape[:2]) == 224


def test_words_come_from_training_texts_alone(root):
    """Other words in validation and test texts change neither the training vectors nor their size."""
    before = {name: pascal(root).part(name).text for name in PARTS}
    held_out = [*pascal(root).listing("val").pictures, *pascal(root).listing("test").pictures]
    change_sentences(
        root, lambda content: [content[Path(f).name]["captions"].append("zebra grass zebra") for f in held_out]
    )
    after = {name: pascal(root).part(name).text for name in PARTS}
    assert torch.equal(after["train"], before["train"])
    assert after["test"].shape == before["test"].shape
    assert not torch.equal(after["test"], before["test"])
    assert not torch.equal(after["val"], before["val"])


def test_a_text_is_all_its_sentences(root):
    """A sentence counts wherever it stands."""
    file = pascal(root).part("train").image_names[0]
    before = pascal(root).part("train")
    change_sentences(root, lambda content: content[file]["captions"].append(content[file]["captions"].pop(1)))
    moved = pascal(root).part("train")
    assert torch.equal(moved.text, before.text)
    change_sentences(root, lambda content: content[file].update(captions=content[file]["captions"][:1]))
    cut = pascal(root).part("train")
    assert not torch.equal(cut.text[0], before.text[0])


def test_texts_are_weighed_as_the_card_says(published):
    named = WordWeights("tfidf", stop_words="english", sublinear=True, min_df=2)
    data = pascal(published, text=named)
    assert torch.equal(data.part("val").text, pascal(published).part("val").text)
    assert data.features == pascal(published).features
    other = pascal(published, text=WordWeights("counts"))
    assert not torch.equal(other.part("val").text, data.part("val").text)
    assert "mobilenetv2_features.npz" in other.features
    assert "bag of words, all words" in other.features


def test_pictures(published, root):
    data = pascal(published)
    assert data.picture("test", 99).shape == (16, 24, 3)
    assert data.picture("test", 99).dtype == np.uint8
    assert pascal(root).picture("test", 99) is None


def test_test_items_are_behind_the_wall(root):
    """Training and validation are read the same, whatever the test items hold."""
    before = {name: pascal(root).part(name) for name in ("train", "val")}
    test = [file for of in read_split("pascal_sentence_0")["parts"]["test"].values() for file in of]
    change_sentences(root, lambda content: [content.pop(file) for file in test[1:]])
    poison = archive(lambda held: held["features"].__setitem__(np.isin(held["names"], test), np.nan))
    change(root / "mobilenetv2_features.npz", poison)
    data = pascal(root)
    for name, part in before.items():
        assert torch.equal(data.part(name).image, part.image)
        assert torch.equal(data.part(name).text, part.text)
    with pytest.raises(UserError):
        data.test_dataloader()


@pytest.mark.parametrize("number", [-1, 5])
def test_there_are_five_splits(tmp_path, number):
    with pytest.raises(UserError, match=rf"split of PascalSentence is {number}, but should be"):
        pascal(tmp_path, split=number)
