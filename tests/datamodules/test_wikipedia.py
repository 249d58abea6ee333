import hashlib
import shutil

import numpy as np
import pytest
import scipy.io
import torch

from cmr_lightning.batch import Features, Pixels, Tokens
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import LABELLED_PAIRS
from datamodules.families.listed_data import PARTS
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens
from datamodules.reading.committed_splits import read_split
from datamodules.wikipedia import Wikipedia
from tests.datamodules.published.wikipedia import TEST_FIRST_231, TEST_OTHER_462, TRAIN
from tests.datamodules.published.wikipedia import write as write_wikipedia
from tests.datamodules.test_faulty_files import arrays

TEST = tuple(first + other for first, other in zip(TEST_FIRST_231, TEST_OTHER_462, strict=True))
CARVED = (14, 27, 24, 25, 20, 18, 19, 14, 21, 35)
REST = tuple(train - carved for train, carved in zip(TRAIN, CARVED, strict=True))
COUNTS = {
    "official": (REST, CARVED, TEST),
    "official-all": (TRAIN, CARVED, TEST),
    "231/462": (TRAIN, TEST_FIRST_231, TEST_OTHER_462),
}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "wikipedia"
    write_wikipedia(root, tfidf=True, pictures=20)
    return root


@pytest.fixture
def root(published, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(published, tmp_path / "wikipedia")


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """With all pictures and articles."""
    root = tmp_path_factory.mktemp("data") / "wikipedia"
    write_wikipedia(root, tfidf=False, pictures=2173)
    return root


@pytest.fixture(params=["published", "real"])
def either(request):
    """The invented data, and the real one where it is there."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("split", COUNTS)
def test_splits(either, split):
    data = Wikipedia(str(either), split=split)
    parts = {name: data.part(name) for name in PARTS}
    assert tuple(tuple(torch.bincount(part.label).tolist()) for part in parts.values()) == COUNTS[split]
    for part in parts.values():
        assert part.image.dtype == part.text.dtype == torch.float32
        assert part.image.shape[1:] == (128,)
        assert part.text.shape[1:] == (10,)
        torch.testing.assert_close(part.image.sum(1), torch.ones(part.num_images))
        torch.testing.assert_close(part.text.sum(1), torch.ones(part.num_texts))
        assert torch.equal(part.owner, torch.arange(part.num_images))
    assert data.protocols == LABELLED_PAIRS


def test_rows_stay_with_their_lines(published):
    held = scipy.io.loadmat(published / "raw_features.mat")
    lines = {}
    for name, suffix in (("trainset", "tr"), ("testset", "te")):
        for row, line in enumerate((published / f"{name}_txt_img_cat.list").read_text().splitlines()):
            _, image_id, label = line.split("\t")
            lines[image_id] = (held[f"I_{suffix}"][row], held[f"T_{suffix}"][row], int(label) - 1)
    for split in COUNTS:
        for name in PARTS:
            part = Wikipedia(str(published), split=split).part(name)
            image, text, label = zip(*[lines[image_id] for image_id in part.image_names], strict=True)
            np.testing.assert_array_equal(part.image, np.float32(image))
            np.testing.assert_array_equal(part.text, np.float32(text))
            assert part.label.tolist() == list(label)


def test_validation_rows_are_the_committed_ones(published):
    lines = (published / "trainset_txt_img_cat.list").read_text().splitlines()
    committed = {row for rows in read_split("wikipedia_validation")["rows"].values() for row in rows}
    names = Wikipedia(str(published)).part("val").image_names
    assert list(names) == [line.split("\t")[1] for row, line in enumerate(lines) if row in committed]


def test_tfidf(either):
    data, lda = Wikipedia(str(either), text="tfidf"), Wikipedia(str(either))
    for name in PARTS:
        torch.testing.assert_close(data.part(name).text.norm(dim=1), torch.ones(data.part(name).num_texts))
        assert torch.equal(data.part(name).image, lda.part(name).image)
    assert data.spec.text == Features(1000)
    assert "tf-idf" in data.features
    assert "LDA" in lda.features


def test_the_committed_list_is_made_for_the_real_list_file(real):
    committed = read_split("wikipedia_validation")
    assert hashlib.sha256((real / committed["of"]).read_bytes()).hexdigest() == committed["sha256"]


@pytest.mark.parametrize("split", COUNTS)
def test_test_rows_are_behind_the_wall(root, split):
    """Training and validation are read the same, whatever the test rows hold."""
    before = {name: Wikipedia(str(root), split=split).part(name) for name in ("train", "val")}
    first = 231 if split == "231/462" else 0
    poison = arrays(lambda held: [held[key].__setitem__(slice(first, None), np.nan) for key in ("I_te", "T_te")])
    path = root / "raw_features.mat"
    path.write_bytes(poison(path.read_bytes()))
    data = Wikipedia(str(root), split=split)
    assert data.spec.num_images == before["train"].num_images
    for name, part in before.items():
        assert torch.equal(data.part(name).image, part.image)
        assert torch.equal(data.part(name).text, part.text)
    with pytest.raises(UserError, match=rf"raw_features\.mat: I_te should hold finite .* first row {first},"):
        data.test_dataloader()


def test_fitting_on_the_official_split_needs_no_test_list(root):
    (root / "testset_txt_img_cat.list").unlink()
    data = Wikipedia(str(root))
    data.train_dataloader()
    data.val_dataloader()
    with pytest.raises(UserError, match=r"testset_txt_img_cat\.list is missing"):
        data.test_dataloader()


def test_pictures_and_articles(published):
    data = Wikipedia(str(published), split="official-all")
    captions = data.part("train").captions
    assert captions[0].startswith("Section 0: Q & A. ")
    assert captions[20] == ""
    assert data.picture("train", 0).shape == (16, 24, 3)
    assert data.picture("train", 20) is None


def test_encoders_may_be_fed_with_pictures_and_articles(complete):
    data = Wikipedia(str(complete), image=Pictures(crop=16, resize=16), text=WordTokens(min_count=2), split="231/462")
    assert (data.spec.image, data.spec.text.vocabulary) == (Pixels(16), len(data.text.vocabulary))
    published = Wikipedia(str(complete), split="231/462")
    assert data.split == published.split
    for name in PARTS:
        part, other = data.part(name), published.part(name)
        assert part.image_names == other.image_names
        assert part.captions == other.captions
        assert torch.equal(part.label, other.label)
        assert isinstance(part.text, Tokens)
        last = torch.tensor([part.num_images - 1])
        colour = data.picture(name, part.num_images - 1).mean((0, 1))
        np.testing.assert_allclose(part.image.rows(last).float().mean((0, 2, 3)), colour, atol=3)
    assert "pictures, short side 16" in data.features
    assert "words of at least 2" in data.features


def test_one_of_both_may_be_published(complete):
    data = Wikipedia(str(complete), image=Pictures(crop=16, resize=16))
    assert (data.spec.image, data.spec.text) == (Pixels(16), Features(10))
    data = Wikipedia(str(complete), text=WordTokens())
    assert data.spec.image == Features(128)
    assert torch.equal(data.part("val").image, Wikipedia(str(complete)).part("val").image)


def test_pictures_left_out_take_their_texts_along(published):
    """Of the first 20 rows of each list there are pictures; the features are those of these rows."""
    data = Wikipedia(str(published), image=Pictures(crop=16, resize=16, missing="skip"), split="official-all")
    everything = Wikipedia(str(published), split="official-all").part("test")
    with pytest.raises(UserError, match="no val image has the class"):
        data.part("val")
    listing = data.listing("test")
    assert len(listing.pictures) == 20
    assert torch.equal(data.text.content(listing), everything.text[:20])
    assert torch.equal(listing.label, everything.label[:20])
    assert data.split.name.endswith("pictures left out")


def test_missing_pictures_and_articles_are_refused(complete, published, tmp_path):
    pictures = Pictures(crop=16, resize=16)
    with pytest.raises(UserError, match=r"673 of 693 pictures are missing .*data\.image\.missing"):
        Wikipedia(str(published), image=pictures).part("test")
    with pytest.raises(UserError, match=r"texts/.*\.xml is missing; .*wikipedia_dataset\.zip"):
        Wikipedia(str(published), text=WordTokens()).part("test")
    root = shutil.copytree(complete, tmp_path / "w", ignore=shutil.ignore_patterns("images"))
    path = root / "texts" / f"{(root / 'testset_txt_img_cat.list').read_text().split()[0]}.xml"
    path.write_text("<article><text> </text></article>")
    with pytest.raises(UserError, match="1 captions are empty"):
        Wikipedia(str(root), text=WordTokens()).part("test")


def test_real_data_without_pictures_and_articles(real):
    data = Wikipedia(str(real))
    assert set(data.part("val").captions) == {""}
    assert data.picture("val", 0) is None
