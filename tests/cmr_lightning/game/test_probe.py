from statistics import mean, stdev

import pytest
import torch
from pytorch_lightning.plugins import DoublePrecision

from cmr_lightning.evaluation.game_state import null_deviation
from cmr_lightning.game import probe as module
from cmr_lightning.game.probe import drawn_pairs, probe
from tests.benchmarks.probe import pairs, repeated


@pytest.mark.parametrize(("items", "torn"), [(50, 0.2), (100, 0.24), (200, 0.28), (500, 0.35)])
def test_pairs_of_one_law_are_told_by_chance_and_less_often_where_they_are_torn(items: int, torn: float) -> None:
    """The torn figures are those of logistic regression."""
    repeats = max(4, 800 // items)
    assert mean(repeated(probe, repeats, items)) == pytest.approx(0.5, abs=0.02)
    assert mean(repeated(probe, repeats, items, torn=True)) == pytest.approx(torn, abs=0.02 + 1 / items)


def test_what_can_be_told_is_found_the_better_the_more_items_there_are() -> None:
    few, many = (mean(repeated(probe, repeats, items, best=0.7)) for items, repeats in ((50, 12), (500, 5)))
    assert 0.6 < few < many < 0.7
    assert mean(repeated(probe, 6, 500, best=0.6)) == pytest.approx(0.59, abs=0.015)


@pytest.mark.parametrize("views", [2, 4])
def test_null_deviation_is_that_of_independent_views(views: int) -> None:
    torch.manual_seed(0)
    found = [probe(torch.randn(60, views, 8)) for _ in range(100)]
    assert mean(found) == pytest.approx(1 / views, abs=0.015)
    assert stdev(found) == pytest.approx(null_deviation(60, views), rel=0.2)


def test_one_view_of_four_that_differs_is_told_and_the_others_are_guessed() -> None:
    torch.manual_seed(0)
    views = torch.randn(500, 4, 3)
    views[:, 2] += torch.tensor([20.0, 0.0, 0.0])
    assert probe(views) == pytest.approx((1 + 3 * 1 / 3) / 4, abs=0.03)


def test_any_scale_and_place_give_the_same_and_a_collapsed_space_tells_nothing() -> None:
    torch.manual_seed(0)
    views = pairs(40, 5, best=0.8)
    assert probe(views) == probe(1e4 * views * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]) + 3e4) == probe(views.double())
    with DoublePrecision().forward_context():
        assert probe(views.double()) == probe(views)
    assert probe(torch.ones(7, 2, 3)) == 0.5
    assert probe(torch.tensor([[[1.0], [-1.0]], [[2.0], [-2.0]]])) == 1  # two items are enough


def test_each_image_is_drawn_with_one_of_its_texts_always_the_same_and_nothing_else_is_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = torch.arange(30).repeat_interleave(5)[10:]  # images 0 and 1 have no texts
    before = torch.get_rng_state()
    images, texts = drawn_pairs(owner)
    probe(torch.randn(28, 2, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)
    assert sorted(images.tolist()) == list(range(2, 30))
    assert images.tolist() != sorted(images.tolist())
    assert torch.equal(owner[texts], images)
    assert len(set((texts % 5).tolist())) > 1  # not the first of each
    assert all(map(torch.equal, drawn_pairs(owner), (images, texts)))
    monkeypatch.setattr(module, "MOST_PAIRS", 4)
    assert all(map(torch.equal, drawn_pairs(owner), (images[:4], texts[:4])))
    assert [len(rows) for rows in drawn_pairs(owner[:0])] == [0, 0]
