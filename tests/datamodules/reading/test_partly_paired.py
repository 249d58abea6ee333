"""Batches where few pairs are known."""

from dataclasses import replace

import pytest
import torch

from cmr_lightning.batch import Batch, Loose
from cmr_lightning.errors import UserError
from datamodules.reading.partly_paired import PartlyPairedLoader
from datamodules.reading.regime import Regime
from tests.toy import Toy

PART = Toy(captions=3, regime=Regime(seed=0, paired=10)).part("train")
ROWS = torch.arange(96)[:, None], torch.arange(288)[:, None]


def numbered(world_size: int = 1, rank: int = 0, batch_size: int = 16, epoch_of: str = "texts") -> PartlyPairedLoader:
    """A loader of the part in which an item is its own number."""
    part = replace(PART, image=ROWS[0], text=ROWS[1])
    return PartlyPairedLoader(part, batch_size, 0, rank, world_size, epoch_of)  # type: ignore[arg-type]


def loose(batch: Batch) -> Loose:
    assert batch.loose is not None
    return batch.loose


def test_pairs_are_known_ones_and_loose_items_come_once_an_epoch() -> None:
    batches = list(numbered())
    assert len(batches) == 18  # as many as if all pairs were known
    for batch in batches:
        assert torch.equal(batch.image[:, 0], PART.owner[batch.text[:, 0]])
        assert torch.equal(batch.label, PART.label[batch.image[:, 0]])
        assert len(loose(batch).image) == len(loose(batch).text) == len(batch.image) == 16
        assert PART.text_label is not None
        assert torch.equal(loose(batch).text_label, PART.text_label[loose(batch).text[:, 0]])
        assert torch.equal(loose(batch).image_label, PART.label[loose(batch).image[:, 0]])
    texts = torch.cat([loose(batch).text[:, 0] for batch in batches])
    images = torch.cat([loose(batch).image[:, 0] for batch in batches])
    assert sorted(texts.tolist()) == list(range(288))
    assert torch.bincount(images).tolist() == [3] * 96
    together = (Toy(captions=3).part("train").owner[texts] == images).sum()
    assert together < 15  # 3 by chance
    pairs = torch.cat([batch.text[:, 0] for batch in batches])
    assert torch.bincount(torch.bincount(pairs)[PART.linked]).tolist()[9:] == [12, 18]  # 30 pairs, 288 places


def test_an_epoch_of_images_shows_one_text_of_each() -> None:
    batches = list(numbered(epoch_of="images"))
    assert len(batches) == 6
    assert all(len(batch.image) == len(batch.image.unique()) == 10 for batch in batches)
    assert len(torch.cat([loose(batch).image for batch in batches]).unique()) == 96


def test_processes_share_the_batches_of_one() -> None:
    alone, *both = (list(numbered(*case)) for case in ((1, 0, 16), (2, 0, 8), (2, 1, 8)))
    for one, first, second in zip(alone, *both, strict=True):
        dealt = torch.stack([loose(first).text, loose(second).text], dim=1).flatten(0, 1)
        assert torch.equal(dealt, loose(one).text)
        assert torch.equal(torch.stack([first.text, second.text], dim=1).flatten(0, 1), one.text)
    with pytest.raises(UserError, match="knows 10 pairs, too few for 11 processes"):
        numbered(world_size=11, epoch_of="images")


def test_an_epoch_continues_in_its_middle() -> None:
    loader, resumed = numbered(), numbered()
    batches = iter(loader)
    for _ in range(5):
        next(batches)
    resumed.load_state_dict(loader.state_dict())
    for ours, theirs in zip(batches, resumed, strict=True):
        assert torch.equal(loose(ours).image, loose(theirs).image)
        assert torch.equal(ours.text, theirs.text)


def test_without_any_pair_there_are_loose_items_alone() -> None:
    data = Toy(regime=Regime(seed=0, paired=0))
    for batch in data.train_dataloader():
        assert len(batch.image) == len(batch.label) == 0
        assert len(loose(batch).image) == 16
