"""Which runs stand in one table, and what its rows say."""

from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.reports.board import Board, boards, find_runs
from cmr_lightning.reports.board_tables import memory, power_in_words
from cmr_lightning.reports.claims import Claim
from cmr_lightning.reports.power import power_chart, power_drawing
from cmr_lightning.reports.statistics import LEVEL, summary
from tests.cmr_lightning.reports.made_runs import MAP, make_run, on_split


def made(folder: Path, claims: tuple[Claim, ...] = (), references: tuple[str, ...] = ()) -> list[Board]:
    return boards(find_runs(folder, []), claims, references)


def test_an_experiment_is_one_row_and_one_that_lacks_runs_is_not_tested(tmp_path: Path) -> None:
    for experiment, noise in (("toys/a", 0.1), ("toys/b", 50.0), ("toys/c", 1.0)):
        for seed in range(4 if experiment == "toys/c" else 5):
            folder = tmp_path / experiment / str(seed)
            make_run(folder, noise, experiment=experiment, seed=seed, **on_split(str(seed)))
    make_run(tmp_path / "other seed", experiment="toys/d", seed=7, **on_split("0"))
    board, other = made(tmp_path, references=("a",))[::-1]
    assert [row.experiment for row in other.rows] == ["toys/d"]
    assert {row.experiment: (row.seeds, row.mark("mean")) for row in board.rows} == {
        "toys/a": ("0, 1, 2, 3, 4", ""),
        "toys/b": ("0, 1, 2, 3, 4", "▼"),
        "toys/c": ("0, 1, 2, 3 (4 of 5 splits)", ""),
    }
    assert board.refusal is not None
    assert "toys/c (4 of 5 splits), as tests need all splits; finish the missing runs" in board.refusal


def test_seeds_on_one_of_five_splits_keep_their_table_and_its_tests(tmp_path: Path) -> None:
    for experiment, seeds in (("toys/a", 5), ("toys/b", 5), ("toys/c", 1)):
        for seed in range(seeds):
            split = str(seed) if experiment == "toys/a" else "0"
            make_run(tmp_path / experiment / str(seed), experiment=experiment, seed=seed, **on_split(split))
    one_split, five_splits = sorted(made(tmp_path), key=lambda board: len(board.conditions.splits))
    assert sorted(row.seeds for row in one_split.rows) == ["0", "0, 1, 2, 3, 4"]
    assert five_splits.rows[0].summaries["mean"].n == 5
    assert five_splits.refusal is None
    assert one_split.refusal is not None
    assert "toys/c has one seed, and one seed says nothing about others; list more in the" in one_split.refusal


def test_one_seed_each_makes_no_claim(tmp_path: Path) -> None:
    for experiment, noise in (("toys/a", 0.1), ("toys/b", 50.0), ("toys/c", 1.0)):
        make_run(tmp_path / experiment, noise, experiment=experiment)
    (board,) = made(tmp_path, references=("a",))
    assert board.refusal is not None
    assert "each experiment has one seed" in board.refusal
    assert "as `seeds: [0, 1, 2, 3, 4]`" in board.refusal
    assert {(row.comparisons, row.mark("mean")) for row in board.rows} == {(None, "")}
    assert (board.typical, power_in_words(board), power_drawing(board)) == (None, [], None)


def test_power_of_a_board_is_drawn_and_said_for_its_own_number_of_seeds(tmp_path: Path) -> None:
    for experiment, noise in (("toys/a", 0.5), ("toys/b", 0.6), ("toys/c", 0.7)):
        for seed in range(4):
            make_run(tmp_path / experiment / str(seed), noise, experiment=experiment, method=experiment, seed=seed)
    (board,) = made(tmp_path)
    assert board.typical is not None
    alone, corrected = (f"{board.typical.detectable(level):.3f}" for level in (LEVEL, LEVEL / 3))
    said = f"4 seeds find a true difference of {alone} four times in five, and one of {corrected} after Holm's"
    assert power_in_words(board) == [f"{said} correction for 3 pairs."]
    chart, drawing = power_chart(board), power_drawing(board)
    assert chart is not None
    assert drawing is not None
    assert [line.experiment for line in drawing.lines] == ["3 seeds", "4 seeds", "5 seeds", "10 seeds", "20 seeds"]
    assert [line.experiment for line in drawing.lines if line.style.endswith(" own")] == ["4 seeds"]
    fewest, own, *_, most = chart.curves
    assert fewest.x[0] == 0
    assert own.y[0] < LEVEL * 1.1
    assert fewest.y[-1] == pytest.approx(0.8)
    assert np.interp(board.typical.detectable(), own.x, own.y) == pytest.approx(0.8, abs=0.01)
    assert (np.diff([curve.y for curve in chart.curves], axis=0) >= -1e-3).all(), "more seeds find more"
    assert most.y[-1] > 0.999


def test_mean_over_splits_has_an_interval_if_it_is_known_how_much_they_share(tmp_path: Path) -> None:
    sizes = {"train": 100, "val": 10, "test": 50}
    for seed in range(3):
        for name, pictures in (("a", sizes), ("b", {})):
            folder = tmp_path / name / str(seed)
            make_run(folder, experiment=f"toys/{name}", seed=seed, pictures=pictures, **on_split(str(seed)))
    (board,) = made(tmp_path)
    found = {row.experiment: row.summaries["mean"] for row in board.rows}
    values = [run.value("mean") for row in board.rows for run in row.runs if row.experiment == "toys/a"]
    assert found["toys/a"] == summary(values, 0.5)
    assert found["toys/b"].interval is None
    assert board.refusal is not None
    assert "do not say how many pictures each part has; run `test` again" in board.refusal
    make_run(tmp_path / "a" / "again", experiment="toys/a", seed=3, pictures=sizes, **on_split("0"))
    (board,) = made(tmp_path / "a")
    assert board.rows[0].summaries["mean"].interval is None, "two runs on one split are not two splits"


@pytest.mark.parametrize(
    "changes",
    [
        {"dataset": "Others"},
        {"data_checksum": "other data"},
        {"split": {"name": "b", "checksum": "b"}},
        {"protocol": "map@all/l2/label"},
        {"encoders": {"image": "FeatureMLP", "text": "FeatureMLP", "features": "other features"}},
    ],
)
def test_what_differs_in_its_conditions_has_a_table_of_its_own(changes: dict, tmp_path: Path) -> None:
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", experiment="toys/b", **changes)
    assert [len(board.rows) for board in made(tmp_path)] == [1, 1]


def test_rows_are_best_first_by_encoder_with_marks_against_the_reference(tmp_path: Path) -> None:
    for seed in range(3):
        others = {
            "toys/random": {"method": "Random", "encoders": named("Random")},
            "toys/timm": {"encoders": named("Timm")},
        }
        for experiment, changes in others.items():
            make_run(tmp_path / experiment / str(seed), noise=0.5, experiment=experiment, seed=seed, **changes)
        for experiment, noise in (("weak", 50.0), ("middle", 1.0), ("twin", 1.0), ("strong", 0.1)):
            make_run(tmp_path / experiment / str(seed), noise, experiment=f"toys/{experiment}", seed=seed)
    (board,) = made(tmp_path, references=("middle",))
    by_encoder = {encoder: [row.experiment for row in rows] for encoder, rows in board.encoders.items()}
    mlp = ["toys/strong", "toys/middle", "toys/twin", "toys/weak"]
    assert by_encoder == {"FeatureMLP": mlp, "Timm": ["toys/timm"], None: ["toys/random"]}
    assert list(by_encoder)[-1] is None
    assert board.reference == "toys/middle"
    assert [row.mark("mean") for row in board.encoders["FeatureMLP"]] == ["▲", "", "=", "▼"]


def named(encoder: str) -> dict[str, str]:
    return {"image": encoder, "text": encoder, "features": "toy features"}


def test_one_name_with_other_encoders_is_two_rows_with_full_names(tmp_path: Path) -> None:
    for encoder in ("FeatureMLP", "Timm"):
        make_run(tmp_path / encoder, encoders=named(encoder))
    (board,) = made(tmp_path)
    expected = {f"toys/daml (DAML, {encoder} + {encoder})" for encoder in ("FeatureMLP", "Timm")}
    assert {row.experiment for row in board.rows} == expected


def test_each_table_takes_the_first_reference_that_it_has(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, experiment=f"toys/{name}")
    for name in ("b_instance", "c_instance"):
        make_run(tmp_path / name, experiment=f"toys/{name}", **on_split("other"))
    tables = made(tmp_path, references=("b", "c_instance", "b_instance"))
    assert sorted(str(board.reference) for board in tables) == ["toys/b", "toys/c_instance"]


def test_memory_of_a_row_is_that_of_its_largest_run_if_all_were_measured(tmp_path: Path) -> None:
    for seed, mib in enumerate((500, 700)):
        peak = {"process_mib": mib, "gpu_mib": 2000 - mib}
        make_run(tmp_path / f"a{seed}", experiment="toys/a", seed=seed, peak_memory=peak)
        make_run(tmp_path / f"b{seed}", experiment="toys/b", seed=seed, peak_memory=peak if seed else {})
    (board,) = made(tmp_path)
    found = {row.experiment: row.peak_memory for row in board.rows}
    assert found == {"toys/a": {"process_mib": 700, "gpu_mib": 1500}, "toys/b": {}}
    assert memory(found["toys/a"]) == "700 MiB, GPU 1.5 GiB"


def test_published_numbers_are_subtracted_only_where_protocol_and_features_agree(tmp_path: Path) -> None:
    make_run(tmp_path / "a", noise=0.0)  # a perfect ranking

    def claim(**changes: str) -> Claim:
        values = {"protocol": MAP, "features": "toy features", "method": "DAML", **changes}
        rest = {"encoder": "x", "metric": "mAP", "values": {"i2t": 0.4}, "source": "s", "standing": "paper"}
        return Claim(dataset="Toys", **rest, **values)

    agreeing, unstated, other = claim(), claim(protocol="not stated"), claim(method="SSAL")
    (board,) = made(tmp_path, (agreeing, unstated, other))
    (published,) = board.rows[0].published
    assert published.claim is agreeing
    assert published.differences == {"i2t": pytest.approx(0.6)}
    assert board.other_claims == (unstated,)
