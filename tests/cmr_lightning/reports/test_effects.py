"""What a term adds, by regime."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from cmr_lightning.reports.board import boards, find_runs
from cmr_lightning.reports.effects import draw_effects, effects
from cmr_lightning.reports.page import page
from cmr_lightning.reports.results import figures, keep, written
from tests.cmr_lightning.reports.made_runs import make_run
from tests.cmr_lightning.reports.test_row_game import GAME, OFF

FEW: dict[str, Any] = {"regime": {"words": "paired 40", "seed": 0, "pairs": 40}}
ROWS = {
    "toys/daml": (1.0, GAME),
    "toys/daml_none": (1.5, {**GAME, **OFF}),
    "toys/daml_mmd": (0.5, {**GAME, "state": "none", "discriminator_accuracy": None}),
    "toys/daml_mmd_acting": (0.7, GAME),
    "toys/daml_mmd_twin": (0.9, {**GAME, **OFF}),
    "toys/nce": (2.0, {**GAME, **OFF}),  # without a term of its own
    "toys/nce_blind": (1.0, GAME),
    "toys/nce_blind_twin": (1.0, {**GAME, **OFF}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for regime in ({}, FEW):
        for name, (noise, game) in ROWS.items():
            for seed in (0, 1):
                path = folder / ("few" if regime else "all") / name / str(seed)
                make_run(path, noise, experiment=name, seed=seed, game=game, examples=False, **regime)
    return folder


def test_terms_are_beside_none_and_acting_ones_beside_their_twins(folder: Path) -> None:
    board, few = boards(find_runs(folder, []), [])
    assert (board.conditions.regime, few.conditions.regime) == ("", "paired 40")
    found = effects(board)
    assert {(e.method, e.term, e.acting) for e in found} == {
        ("toys/daml", "own", False),
        ("toys/daml", "mmd", False),
        ("toys/daml", "mmd", True),
        ("toys/nce", "blind", False),
        ("toys/nce", "blind", True),
    }
    rows = {row.experiment: row for row in board.rows}
    for effect, (one, other) in zip(
        sorted(found, key=lambda e: (e.method, e.term, e.acting)),
        [
            ("toys/daml_mmd", "toys/daml_none"),
            ("toys/daml_mmd_acting", "toys/daml_mmd_twin"),
            ("toys/daml", "toys/daml_none"),
            ("toys/nce_blind", "toys/nce"),
            ("toys/nce_blind", "toys/nce_blind_twin"),
        ],
        strict=True,
    ):
        assert effect.difference.mean == pytest.approx(rows[one].mean - rows[other].mean)
        assert effect.state == rows[one].game_word


def test_one_seed_draws_no_effect(tmp_path: Path) -> None:
    for name in ("toys/daml", "toys/daml_none"):
        make_run(tmp_path / name, experiment=name, game=ROWS[name][1])
    (board,) = boards(find_runs(tmp_path, []), [])
    assert effects(board) == []
    assert draw_effects([board]) == []


def test_a_figure_has_a_column_for_each_regime_and_stands_on_the_page(folder: Path) -> None:
    tables = boards(find_runs(folder, []), [])
    ((title, svg),) = draw_effects(tables)
    text = [element.text for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]
    assert title == "Toys; toy features"
    assert {"paired 40", "nce, blind, acting", "daml, own"} | {e.state for e in effects(tables[0])} <= set(text)
    assert draw_effects(tables) == [(title, svg)]  # always the same
    html = page(tables, [])
    assert "What the terms add" in html
    assert svg[svg.index("<svg") :] in html


def test_figures_are_kept_beside_the_records_and_shown_in_the_tables(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("experiments/results/toys.jsonl")
    path.parent.mkdir(parents=True)
    path.with_suffix(".effects7.svg").write_text("of an earlier time")
    assert keep(folder, path) == 2 * len(ROWS) * 2  # the same rows and seeds under two regimes are not taken for one
    assert figures(path.parent) == {"results/toys.effects0.svg": "Toys; toy features"}
    page = written(Path())[Path("experiments/README.md")]
    assert "![What the terms add, with intervals](results/toys.effects0.svg)" in page
    assert "trained with paired 40" in page
