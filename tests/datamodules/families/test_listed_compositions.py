import random
from pathlib import Path

import pytest
import torch
from PIL import Image

import cmr_lightning  # noqa: F401
from cmr_lightning.batch import Batch
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import COMPOSED_CAPTION
from datamodules.base import PartName
from datamodules.families.listed_compositions import ComposedListing, ListedCompositions, Query
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.stored_features import StoredTexts
from datamodules.inputs.text_inputs import WordTokens
from datamodules.reading.listing import Listing

LISTING = ComposedListing.make(
    pictures=["a.png", "b.png", "c.png", "d.png"],
    label=torch.tensor([0, 1, 0, 1]),
    queries=[Query(0, "make it blue", 1), Query(1, "make it red", 2), Query(3, "make it red", 0)],
    keys={"caption": ["red cup", "blue cup", "red cup", "green cup"]},
    fold=torch.tensor([0, 0, 1, 1]),
)


class Listed(ListedCompositions):
    """The same list in every part; in an epoch all queries start from the first picture, if asked."""

    classes = ("cup", "hat")
    protocols = COMPOSED_CAPTION
    split_name = "made up"
    drawn: tuple[str, ...] | None = None
    listed = LISTING

    def list_part(self, part: PartName) -> ComposedListing:
        return self.listed

    def draw(self, listing: ComposedListing, count: int, chance: random.Random) -> list[Query] | None:
        if self.drawn is None:
            return None
        return [Query(0, chance.choice(self.drawn), 1) for _ in range(count)]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in LISTING.pictures:
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    return tmp_path


def listed(root: Path, missing: str = "refuse") -> Listed:
    return Listed(str(root), Pictures(crop=8, resize=8, missing=missing), WordTokens())  # type: ignore[arg-type]


def test_left_out_pictures_take_along_the_queries_at_either_end() -> None:
    left = LISTING.of(torch.tensor([True, False, True, True]))
    assert left.pictures == ("a.png", "c.png", "d.png")
    assert left.captions == ("make it red",)
    assert (left.owner.tolist(), left.target.tolist()) == ([2], [0])
    assert left.label.tolist() == [0, 0, 1]
    assert left.keys["caption"].tolist() == [0, 0, 2]
    assert left.fold is not None
    assert left.fold.tolist() == [0, 1, 1]


def test_part_holds_what_is_listed(root: Path) -> None:
    part = listed(root).part("test")
    assert part.num_images == 4
    assert part.captions == LISTING.captions
    assert (part.owner.tolist(), part.target.tolist()) == ([0, 1, 3], [1, 2, 0])
    assert part.keys["caption"].tolist() == [0, 1, 0, 2]
    assert part.fold is not None
    assert part.image_names == LISTING.pictures


def test_an_epoch_is_what_is_listed_or_what_is_drawn(root: Path) -> None:
    data = listed(root)
    assert data.epoch(torch.Generator().manual_seed(0)) is data.part("train")
    data.drawn = ("make it red", "make it blue")
    first, again, other = (data.epoch(torch.Generator().manual_seed(seed)) for seed in (0, 0, 4))
    assert first.captions == again.captions
    assert first.captions != other.captions
    assert first.owner.tolist() == [0, 0, 0]
    tokens = data.text.vocabulary.encode(first.captions, data.text.length)  # type: ignore[attr-defined]
    assert torch.equal(first.text.ids, tokens.ids)  # type: ignore[union-attr]


def test_processes_read_what_threads_read(root: Path) -> None:
    """Processes stay, though the queries of each epoch are others."""

    def read(workers: int) -> list[Batch]:
        data = Listed(str(root), Pictures(crop=8, resize=8, workers=workers), WordTokens(), batch_size=1)
        data.drawn = ("make it red", "make it blue")
        torch.manual_seed(0)
        loader = data.train_dataloader()
        return [*loader, *loader, *loader]

    assert len(read(0)) == 9
    for apart, together in zip(read(2), read(0), strict=True):
        assert torch.equal(apart.image, together.image)
        assert torch.equal(apart.text.source, together.text.source)  # type: ignore[union-attr]
        assert torch.equal(apart.text.text.ids, together.text.text.ids)  # type: ignore[union-attr]


def test_texts_that_are_made_up_have_no_stored_features(root: Path) -> None:
    with pytest.raises(UserError, match=r"Listed draws new texts in each epoch.*set data\.text to WordTokens"):
        Listed(str(root), text=StoredTexts("clip"))


def test_pictures_that_are_missing_are_refused_or_left_out(root: Path) -> None:
    (root / "b.png").unlink()
    with pytest.raises(UserError, match="1 of 4 pictures are missing"):
        listed(root).part("test")
    data = listed(root, "skip")
    assert data.part("test").captions == ("make it red",)
    assert data.split.name == "made up, 3 of 12 pictures left out"
    (root / "a.png").unlink()
    with pytest.raises(UserError, match="no test query is left whose two pictures are there"):
        listed(root, "skip").listing("test")


def test_a_listing_without_queries_is_a_fault_of_the_program(root: Path) -> None:
    data = listed(root)
    data.listed = Listing(LISTING.pictures, LISTING.label, LISTING.captions, LISTING.owner)  # type: ignore[assignment]
    with pytest.raises(TypeError, match="Listed lists a Listing, which has no composed queries"):
        data.listing("val")


def test_texts_without_words_are_refused(root: Path) -> None:
    data = listed(root)
    data.listed = LISTING.asking([Query(2, " ", 1)])
    with pytest.raises(UserError, match=r"Listed, val: 1 captions are empty, first one of c\.png"):
        data.listing("val")
