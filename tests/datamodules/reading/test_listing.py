import numpy as np
import pytest
import torch
from PIL import Image

from cmr_lightning.batch import Pixels
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import INSTANCE_LEVEL
from datamodules.families.listed_data import ListedData
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens
from datamodules.reading.listing import Listing, no_labels

SIZES = {"train": 12, "val": 4, "test": 4}


class Album(ListedData):
    """Pictures `<part><number>.png` with two captions each."""

    classes = ("any",)
    protocols = INSTANCE_LEVEL
    split_name = "album"

    def list_part(self, part):
        pictures = tuple(f"{part}{number}.png" for number in range(SIZES[part]))
        captions = tuple(f"{name} {place}" for name in pictures for place in ("left", "right"))
        owner = torch.arange(len(pictures)).repeat_interleave(2)
        return Listing(pictures, no_labels(len(pictures)), captions, owner)


class Otherwise(Album):
    """The album with another listing of the training part."""

    def __init__(self, root, change):
        super().__init__(root, Pictures(16, 16), WordTokens())
        self.change = change

    def list_part(self, part):
        listing = super().list_part(part)
        return self.change(listing) if part == "train" else listing


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in SIZES.items():
        for number in range(count):
            pixels = rng.integers(0, 256, (24 + number, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{part}{number}.png")
    return tmp_path


def album(root, batch_size=4, **pictures):
    return Album(str(root), Pictures(16, 20, **pictures), WordTokens(), batch_size, eval_batch_size=3)


def equal(one, other):
    return all(
        torch.equal(a, b)
        for a, b in (
            (one.image, other.image),
            (one.text.ids, other.text.ids),
            (one.label, other.label),
            (one.image_id, other.image_id),
        )
    )


def test_keeping_some_pictures_keeps_their_captions():
    listing = Listing(("a", "b", "c"), torch.tensor([5, 6, 7]), ("a1", "c1", "b1", "c2"), torch.tensor([0, 2, 1, 2]))
    kept = listing.of(torch.tensor([False, True, True]))
    assert kept.pictures == ("b", "c")
    assert kept.label.tolist() == [6, 7]
    assert kept.captions == ("c1", "b1", "c2")
    assert kept.owner.tolist() == [1, 0, 1]


def test_parts(root):
    data = album(root)
    part = data.part("val")
    assert part.image_names == tuple(f"val{number}.png" for number in range(4))
    assert part.captions[3] == "val1.png right"
    assert part.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert data.spec.image == Pixels(16)
    assert data.picture("val", 2).shape == (26, 30, 3)
    images, texts = data.val_dataloader()
    assert torch.equal(torch.cat([items.content for items in images]), part.image.rows(torch.arange(4)))
    assert torch.equal(torch.cat([items.content.ids for items in texts]), part.text.ids)


def test_pairs_are_pictures_with_their_own_captions(root):
    data = album(root)
    part = data.part("train")
    torch.manual_seed(3)
    seen = []
    for batch in data.train_dataloader():
        assert torch.equal(batch.image, part.image.rows(batch.image_id))
        for ids, image in zip(batch.text.ids, batch.image_id.tolist(), strict=True):
            texts = [row for row in range(24) if torch.equal(part.text.ids[row], ids)]
            assert part.owner[texts].tolist() == [image]
            seen += texts
    assert sorted(seen) == list(range(24))


def test_training_pairs_are_all_of_them(root):
    pairs = album(root, augment="crop-flip").training_pairs()
    assert pairs.image.shape == (24, 3, 16, 16)
    assert torch.equal(pairs.image[::2], pairs.image[1::2])


@pytest.mark.parametrize("served", [1, 3])
def test_resuming_within_an_epoch_gives_the_very_same_batches(root, served):
    """Pictures from disk with augmentation, in this epoch and in the next."""

    def loader():
        torch.manual_seed(7)
        return album(root, augment="crop-flip").train_dataloader()

    undisturbed = loader()
    expected = [*undisturbed, *undisturbed]
    assert len(expected) == 12
    assert not torch.equal(expected[0].image, expected[6].image)
    stopped = loader()
    batches = iter(stopped)
    before = [next(batches) for _ in range(served)]
    state = stopped.state_dict()
    batches.close()
    resumed = loader()
    resumed.load_state_dict(state)
    found = [*before, *resumed, *resumed]
    assert len(found) == 12
    assert all(equal(one, other) for one, other in zip(found, expected, strict=True))


def test_missing_and_damaged_pictures_are_counted_in_the_split(root):
    (root / "train3.png").unlink()
    (root / "test0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of 12 pictures are missing in .*, first train3\.png"):
        album(root).part("train")
    whole = album(root, missing="skip").split
    assert whole.name == "album, 1 of 20 pictures left out"
    data = album(root, missing="skip", damaged="skip")
    assert data.split.name == "album, 2 of 20 pictures left out"
    assert data.split.checksum != whole.checksum
    part = data.part("train")
    assert part.num_images == 11
    assert part.num_texts == len(part.captions) == 22
    assert "train3.png left" not in part.captions
    for row, owner in enumerate(part.owner.tolist()):
        assert part.captions[row].startswith(part.image_names[owner])
    assert data.part("test").image_names[0] == "test1.png"


def test_a_damaged_picture_ends_the_epoch_with_its_name(root):
    (root / "train5.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"train5\.png cannot be read as a picture"):
        list(album(root).train_dataloader())


def test_a_part_without_pictures_is_refused(root):
    for path in root.glob("val*"):
        path.unlink()
    with pytest.raises(UserError, match="Album: none of the 4 val pictures is there"):
        album(root, missing="skip").part("val")


def test_an_empty_caption_is_refused(root):
    def change(listing):
        captions = (*listing.captions[:5], " ", *listing.captions[6:])
        return Listing(listing.pictures, listing.label, captions, listing.owner)

    with pytest.raises(UserError, match=r"Otherwise, train: 1 captions are empty, first one of train2\.png"):
        Otherwise(str(root), change).part("train")


def test_a_picture_without_caption_is_refused(root):
    def change(listing):
        return Listing(listing.pictures, listing.label, listing.captions[:-2], listing.owner[:-2])

    with pytest.raises(UserError, match=r"Otherwise, train: 1 pictures have no caption, first train11\.png"):
        Otherwise(str(root), change).part("train")


def test_the_test_part_is_not_listed_for_training(root):
    data = album(root)
    for path in root.glob("test*"):
        path.unlink()
    data.train_dataloader()
    data.val_dataloader()
    with pytest.raises(UserError, match="4 of 4 pictures are missing"):
        data.test_dataloader()


def test_checksum_follows_pictures_and_captions(root):
    before = album(root).checksum()
    assert album(root).checksum() == before
    Image.new("RGB", (20, 20)).save(root / "test1.png")
    assert album(root).checksum() != before
