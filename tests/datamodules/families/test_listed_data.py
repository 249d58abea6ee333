import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from PIL import Image

from cmr_lightning.batch import Pixels
from cmr_lightning.errors import UserError
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens
from datamodules.reading.listing import Listing
from datamodules.reading.loaders import PairLoader
from tests.datamodules.album import Album, write_album


class SmallAlbum(Album):
    """Twenty pictures."""

    parts: ClassVar[dict[str, range]] = {"train": range(12), "val": range(12, 16), "test": range(16, 20)}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_album(tmp_path, 20)


def album(root: Path, **pictures: str) -> SmallAlbum:
    data = SmallAlbum(str(root), Pictures(16, 20, **pictures), WordTokens(), batch_size=4)  # type: ignore[arg-type]
    data.eval_batch_size = 3
    return data


def test_keeping_some_pictures_keeps_their_captions() -> None:
    listing = Listing(("a", "b", "c"), torch.tensor([5, 6, 7]), ("a1", "c1", "b1", "c2"), torch.tensor([0, 2, 1, 2]))
    kept = listing.of(torch.tensor([False, True, True]))
    assert (kept.pictures, kept.captions) == (("b", "c"), ("c1", "b1", "c2"))
    assert (kept.label.tolist(), kept.owner.tolist()) == ([6, 7], [1, 0, 1])


def test_parts(root: Path) -> None:
    data = album(root)
    part = data.part("val")
    assert part.image_names == tuple(f"pictures/{number}.jpg" for number in range(12, 16))
    assert part.captions[3] == "this shows 13 1 indeed"
    assert part.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert data.spec.image == Pixels(16)
    assert data.picture("val", 2).shape == (40, 44, 3)  # type: ignore[union-attr]
    images, texts = data.val_dataloader()
    assert torch.equal(torch.cat([items.content for items in images]), part.image.rows(torch.arange(4)))  # type: ignore[union-attr]
    assert torch.equal(torch.cat([items.content.ids for items in texts]), part.text.ids)  # type: ignore[union-attr]


def test_pairs_are_pictures_with_their_own_captions(root: Path) -> None:
    data = album(root)
    part = data.part("train")
    torch.manual_seed(3)
    seen: list[int] = []
    for batch in data.train_dataloader():
        assert torch.equal(batch.image, part.image.rows(batch.image_id))  # type: ignore[union-attr]
        for ids, image in zip(batch.text.ids, batch.image_id.tolist(), strict=True):  # type: ignore[union-attr]
            texts = [row for row in range(24) if torch.equal(part.text.ids[row], ids)]  # type: ignore[union-attr]
            assert part.owner[texts].tolist() == [image]
            seen += texts
    assert sorted(seen) == list(range(24))


def test_training_pairs_are_all_of_them(root: Path) -> None:
    pairs = album(root, augment="crop-flip").training_pairs()
    assert pairs.image.shape == (24, 3, 16, 16)
    assert torch.equal(pairs.image[::2], pairs.image[1::2])


@pytest.mark.parametrize("served", [1, 3])
def test_resuming_within_an_epoch_gives_the_very_same_batches(root: Path, served: int) -> None:
    """Pictures from disk with augmentation, in this epoch and in the next."""

    def loader() -> PairLoader:
        torch.manual_seed(7)
        return album(root, augment="crop-flip").train_dataloader()

    undisturbed = loader()
    expected = [*undisturbed, *undisturbed]
    assert len(expected) == 12
    assert not torch.equal(expected[0].image, expected[6].image)
    stopped = loader()
    before = list(islice(stopped, served))
    resumed = loader()
    resumed.load_state_dict(stopped.state_dict())
    found = [*before, *resumed, *resumed]
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_part_without_pictures_is_refused_however_often_it_is_asked_for(root: Path) -> None:
    shutil.rmtree(root / "pictures")
    data = album(root, missing="skip")
    for _ in range(2):
        with pytest.raises(UserError, match="none of the 12 train pictures is there"):
            data.listing("train")


def test_missing_and_damaged_pictures_are_counted_in_the_split(root: Path) -> None:
    (root / "pictures/3.jpg").unlink()
    (root / "pictures/16.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of 12 pictures are missing in .*, first pictures/3\.jpg"):
        album(root).part("train")
    whole = album(root, missing="skip").split
    assert whole.name == "album, 1 of 20 pictures left out"
    data = album(root, missing="skip", damaged="skip")
    assert data.split.name == "album, 2 of 20 pictures left out"
    assert data.split.checksum != whole.checksum
    part = data.part("train")
    assert (part.num_images, part.num_texts, len(part.captions)) == (11, 22, 22)
    for caption, owner in zip(part.captions, part.owner.tolist(), strict=True):
        assert part.image_names[owner] == f"pictures/{caption.split()[2]}.jpg" != "pictures/3.jpg"
    assert data.part("test").image_names[0] == "pictures/17.jpg"


def test_a_damaged_picture_ends_the_epoch_with_its_name(root: Path) -> None:
    (root / "pictures/5.jpg").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"5\.jpg cannot be read as a picture"):
        list(album(root).train_dataloader())


SPOILED: list[tuple[Callable[[Listing], Listing], str]] = [
    (
        lambda listing: replace(listing, captions=(*listing.captions[:5], " ", *listing.captions[6:])),
        r"1 captions are empty, first one of pictures/2\.jpg",
    ),
    (
        lambda listing: replace(listing, captions=listing.captions[:-2], owner=listing.owner[:-2]),
        r"1 pictures have no caption, first pictures/11\.jpg",
    ),
]


@pytest.mark.parametrize(("change", "message"), SPOILED)
def test_spoiled_captions_are_refused(root: Path, change: Callable[[Listing], Listing], message: str) -> None:
    data = album(root)
    listing = change(data.list_part("train"))
    data.list_part = lambda part: listing  # type: ignore[method-assign]
    with pytest.raises(UserError, match=f"SmallAlbum, train: {message}"):
        data.part("train")


def test_the_test_part_is_not_listed_for_training(root: Path) -> None:
    data = album(root)
    for number in range(16, 20):
        (root / f"pictures/{number}.jpg").unlink()
    data.train_dataloader()
    data.val_dataloader()
    with pytest.raises(UserError, match="4 of 4 pictures are missing"):
        data.test_dataloader()
    with pytest.raises(UserError, match="SmallAlbum: none of the 4 test pictures is there"):
        album(root, missing="skip").part("test")


def test_checksum_follows_pictures_and_captions(root: Path) -> None:
    before = album(root).checksum()
    assert album(root).checksum() == before
    Image.new("RGB", (20, 20)).save(root / "pictures/17.jpg")
    assert album(root).checksum() != before
