"""What boards say of the adversary of a row."""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from cmr_lightning.evaluation import Record
from cmr_lightning.evaluation.game_state import Figures
from cmr_lightning.reports.board import Board, boards, find_runs
from cmr_lightning.reports.board_tables import markdown, terminal, write_csv
from cmr_lightning.reports.page import page
from cmr_lightning.reports.results_tables import all_tables
from cmr_lightning.reports.row_game import TermGame, row_games
from tests.cmr_lightning.reports.made_runs import RECORD, make_run

GAME: dict[str, Any] = {
    "discriminator_accuracy": 0.6,
    "discriminator_entropy": 0.6,
    "probe_accuracy": 0.65,
    "probe_accuracy_raw": 0.7,
    "gradient_share": 0.1,
    "modality_gap": 0.5,
    "mmd": 0.01,
    "length_ratio": 1.5,
    "items": 200,
    "mode": "flipped",
    "state": "neutral",
    "alignment_setting": "as it was",
}
OFF = {"gradient_share": None, "state": "none", "probe_accuracy": 0.8}


def record(seed: int = 0, split: str = "a", method: str = "DAML", **game: Any) -> Record:
    made_on = {"name": split, "checksum": split}
    return replace(RECORD, seed=seed, split=made_on, method=method, game={**GAME, **game})


def test_figures_of_a_row_are_means_and_its_state_follows_from_them() -> None:
    records = [record(0, gradient_share=0.001, state="idle"), record(1, gradient_share=0.199)]
    game = row_games({"a": records})["a"]
    figures = Figures(pytest.approx(0.1), 0.6, 0.65, 200, mode="flipped")  # type: ignore[arg-type]
    assert game.alignment == TermGame("neutral", figures, None, None)
    assert (game.probe_raw, game.gap, game.length_ratio) == (0.7, 0.5, 1.5)
    assert game.word == "neutral"
    assert row_games({"a": [record(0, gradient_share=0.001), record(1, gradient_share=0.002)]})["a"].word == "idle"


@pytest.mark.parametrize(("probe", "state"), [(0.8, "closing"), (0.5, "circling"), (0.66, "neutral")])
def test_twin_is_the_row_without_a_share_of_the_same_settings(probe: float, state: str) -> None:
    off = [record(seed, **{**OFF, "probe_accuracy": probe}) for seed in (0, 1, 2)]
    games = row_games({"a": [record(0), record(1)], "b": [record(0, gradient_share=0.2)], "off": off})
    game = games["a"].alignment
    assert (game.twin, game.twin_probe, game.state) == ("off", pytest.approx(probe), state)
    assert games["off"].word == "–"
    assert games["off"].alignment.twin is None


@pytest.mark.parametrize(
    "other",
    [
        record(1, **OFF),
        record(split="b", **OFF),
        record(method="ACMR", **OFF),
        record(alignment_setting="another", **OFF),
        record(gradient_share=0.0, probe_accuracy=0.8),
    ],
)
def test_other_rows_are_no_twins(other: Record) -> None:
    assert row_games({"a": [record()], "off": [other]})["a"].alignment.twin is None


def test_rows_without_figures_have_no_game_and_a_missing_figure_no_mean() -> None:
    untrained = replace(RECORD, game={"state": "none", "items": None})
    games = row_games({"a": [record(), RECORD], "b": [untrained], "c": [record(), record(1, length_ratio=None)]})
    assert list(games) == ["c"]
    assert games["c"].length_ratio is None


def test_second_adversary_of_a_method_has_a_state_and_a_twin_of_its_own() -> None:
    def head(share: float | None, **changes: Any) -> dict[str, Any]:
        own = {"accuracy": 0.4, "probe_accuracy": 0.4, "share": share, "views": 4, "mode": "reversal", "setting": "b"}
        return {f"rotation_{name}": value for name, value in {**own, "state": "?", **changes}.items()}

    off = record(alignment_setting="of another weight", **head(None, probe_accuracy=0.6))
    games = row_games({"a": [record(**head(0.001))], "b": [record(**head(0.1))], "off": [off]})
    assert games["a"].word == "neutral, rotation idle"
    assert games["b"].word == "neutral, rotation closing"
    assert games["b"].terms["rotation"].twin == "off"
    assert games["off"].word == "neutral"


@pytest.fixture
def board(tmp_path: Path) -> Board:
    make_run(tmp_path / "on", noise=0.5, game=GAME)
    make_run(tmp_path / "off", experiment="toys/daml_off", game={**GAME, **OFF})
    make_run(tmp_path / "older", noise=2.0, experiment="toys/older")
    (made,) = boards(find_runs(tmp_path, []), [])
    return made


def test_every_table_says_the_state_and_the_detailed_ones_the_figures(board: Board, tmp_path: Path) -> None:
    assert {row.experiment: row.game_word for row in board.rows} == {
        "toys/daml": "closing",
        "toys/daml_off": "–",
        "toys/older": "–",
    }
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(terminal(board))
    for text in (console.export_text(), markdown([board]), all_tables([board], [], {}, {}), page([board], [])):
        assert "closing" in text
    detailed = ["toys/daml", "closing", "0.100", "0.600", "0.650", "0.800", "0.700", "0.500", "1.500", "200"]
    assert f"| {' | '.join(detailed).replace('_', chr(92) + '_')} |" in all_tables([board], [], {}, {})
    cells = "".join(f'<td class="n">{cell}</td>' for cell in detailed[2:])
    assert f"<td>closing</td>{cells}" in page([board], [])
    write_csv([board], tmp_path / "report.csv")
    with (tmp_path / "report.csv").open(newline="") as file:
        rows = {row["experiment"]: row for row in csv.DictReader(file)}
    on, older = rows["toys/daml"], rows["toys/older"]
    assert (on["game"], on["twin"], on["twin_probe_accuracy"], on["game_items"]) == (
        "closing",
        "toys/daml_off",
        "0.8",
        "200",
    )
    assert (older["game"], older["gradient_share"]) == ("", "")


def test_words_are_explained_in_one_line(board: Board) -> None:
    for text in (markdown([board]), all_tables([board], [], {}, {}), page([board], [])):
        assert text.count("circling, it acts, and the modalities are farther apart than without it") == 1
