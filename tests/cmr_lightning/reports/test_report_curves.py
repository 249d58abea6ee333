"""Curves and their drawings."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cmr_lightning.evaluation import Relevance, rank
from cmr_lightning.reports.board import boards, find_runs
from cmr_lightning.reports.charts import BOTTOM, HEIGHT, LEFT, RIGHT, WIDTH, draw, ticks
from cmr_lightning.reports.curves import Chart, Curve, training_charts
from cmr_lightning.reports.evidence import RECALL_LEVELS, precision_by_recall, recall_by_cutoff
from tests.cmr_lightning.reports.made_runs import MAP, make_run


def test_precision_and_recall_against_a_sorted_list() -> None:
    draw_from = torch.Generator().manual_seed(0)
    queries, gallery = torch.randn(7, 5, generator=draw_from), torch.randn(40, 5, generator=draw_from)
    keys = torch.arange(7) % 3, torch.arange(40) % 3
    found = precision_by_recall(rank(queries, gallery, Relevance(*keys), "cos"))
    hits = recall_by_cutoff(rank(queries, gallery, Relevance(*keys), "cos"))
    scores = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(gallery).T
    relevant = (keys[0][:, None] == keys[1]).gather(1, scores.argsort(descending=True)).numpy()
    for level in RECALL_LEVELS.tolist():
        places = [np.flatnonzero(row)[math.ceil(level * row.sum() - 1e-9) - 1] + 1 for row in relevant]
        expected = [row[:place].mean() for row, place in zip(relevant, places, strict=True)]
        assert found[level] == pytest.approx(np.mean(expected))
    assert hits == {k: pytest.approx(100 * relevant[:, :k].any(1).mean()) for k in (1, 2, 5, 10, 20)}


def test_precision_of_equal_scores_is_that_of_the_expected_place() -> None:
    ranks = rank(torch.ones(1, 2), torch.ones(3, 2), Relevance(torch.zeros(1).long(), torch.tensor([0, 1, 1])), "cos")
    assert set(precision_by_recall(ranks).values()) == {0.5}  # one relevant item, expected in place 2 of 3


def test_training_curves_are_means_over_runs_with_their_range(tmp_path: Path) -> None:
    for seed, noise in enumerate((1.0, 3.0)):
        make_run(tmp_path / str(seed), noise=noise, seed=seed)
    (board,) = boards(find_runs(tmp_path, []), ())
    charts = training_charts(board, [])
    assert [chart.title for chart in charts["scores"]] == [f"val/{MAP}/i2t", f"val/{MAP}/t2i"]
    (loss,) = charts["losses"]
    assert loss.title == "generator/label"
    assert loss.curves[0].x == (1, 2, 3, 4, 5)
    assert loss.curves[0].y == (0, 2, 4, 6, 8)
    assert (loss.curves[0].low, loss.curves[0].high) == ((0, 1, 2, 3, 4), (0, 3, 6, 9, 12))
    assert [chart.x_label for chart in charts["game"]] == ["update", "update"]


def test_drawing_stays_inside_its_field() -> None:
    curves = (
        Curve("a", (1, 10, 100), (0.1, 0.5, 0.3), (0.0, 0.4, 0.2), (0.2, 0.93, 0.4)),
        Curve("b", (10,), (-0.7,), (-0.7,), (-0.7,)),
    )
    drawing = draw(Chart("t", "K", curves, logarithmic=True), {"a": "s0 d0", "b": "s1 d0"})
    line, point = drawing.lines
    corners = [tuple(map(float, pair.split(","))) for pair in f"{line.points} {line.band}".split()]
    assert len(corners) == 9
    assert all(LEFT <= x <= WIDTH - RIGHT and 0 <= y <= HEIGHT - BOTTOM for x, y in corners)
    assert [x for x, _ in corners[:3]] == pytest.approx([LEFT, (LEFT + WIDTH - RIGHT) / 2, WIDTH - RIGHT], abs=0.1)
    assert point.single is not None
    assert [label for _, label in drawing.x_ticks] == ["1", "10", "100"]


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.0, 1.0, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.0, 0.0, [0, 0.1, 0.2, 0.3, 0.4, 0.5])]
)
def test_ticks_are_round_and_reach_around_the_values(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)
