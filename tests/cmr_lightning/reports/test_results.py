"""What is kept of the records of a benchmark, and the tables that are written from it."""

import json
import re
import shutil
from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record, load_ranks
from cmr_lightning.reports.comparison import differences, score_run
from cmr_lightning.reports.results import RESULTS, keep, main, read_results, written
from cmr_lightning.reports.results_tables import BEGIN, END
from tests.building import ROOT
from tests.cmr_lightning.reports.made_runs import MAP, RECORD, on_split, write_claims
from tests.cmr_lightning.reports.made_runs import make_run as make_whole_run

HARDWARE = {"system": "Linux-6-of-this-machine", "cpu": "abacus", "cores": 2, "threads": 1, "gpus": []}
VERSIONS = {"python": "3.11", "torch": "2.13"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text(f"# Mine\n\n{BEGIN}\nold\n{END}\n\n## Licence\n")
    return tmp_path


def make_run(name: str, score: float, seed: int = 0, folder: str = "runs/small", **changes) -> Path:
    """The record of a run, as `test` writes it; the texts find one less than the images."""
    values = {"i2t": score + 0.01, "t2i": score - 0.01, "mean": score}
    content = {**vars(RECORD), "experiment": name, "seed": seed, "hardware": HARDWARE, "versions": VERSIONS}
    content |= {"metrics": {MAP: values, "map@50-total/cos/label": values}, "peak_memory": {"process_mib": 700}}
    path = Path(folder) / name / f"seed{seed}" / "record.json"
    Record(**{**content, "config": {"run_dir": str(Path.cwd() / folder)}, **changes}).write(path)
    return path


def tables() -> str:
    main(["results", "runs/small"])
    return Path("experiments/README.md").read_text(encoding="utf-8")


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the lines of all tables by their first cell, the first line of that name."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("| "):
            first, *rest = line.strip("| ").split(" | ")
            found.setdefault(first, rest)
    return found


def test_kept_records_hold_all_that_tables_say_and_nothing_of_the_machine(project: Path) -> None:
    for name in ("toys/b", "toys/a"):
        for seed in (2, 10):
            make_run(name, 0.123456789, seed)
            make_run(name, 0.123456789, seed, folder=f"runs/other/{9 - seed % 9}")
    path = RESULTS / "small.jsonl"
    assert keep(Path("runs/small"), path) == keep(Path("runs/other"), Path("other.jsonl")) == 4
    text = path.read_text()
    assert text == Path("other.jsonl").read_text(), "records are kept in one order, whatever their folders"
    assert [json.loads(line)["each"]["seed"] for line in text.splitlines()] == [[2, 10], [2, 10]]
    assert str(project) not in text
    assert "this-machine" not in text
    first = read_results(RESULTS)[0].record
    assert first.metrics[MAP]["mean"] == 0.123457
    written_one = Record.read(Path("runs/small/toys/a/seed2/record.json"))
    for key in vars(first).keys() - {"config", "hardware", "metrics"}:
        assert getattr(first, key) == getattr(written_one, key), key


def test_table_says_mean_spread_and_interval_over_seeds() -> None:
    for seed, score in enumerate((0.3, 0.4, 0.5)):
        make_run("toys/daml", score, seed, dataset="Wikipedia")
    method, i2t, t2i, mean, game, _, seeds, checkpoint, fit, memory = rows(tables())["toys/daml"]
    half = 4.302653 * 0.1 / 3**0.5  # Student's t with two degrees of freedom
    assert mean == f"0.400 ± 0.100 \\[{0.4 - half:.3f}, {0.4 + half:.3f}\\]"
    assert i2t.startswith("0.410 ± 0.100")
    assert t2i.startswith("0.390 ± 0.100")
    assert (method, game, seeds, fit, memory) == ("DAML", "–", "0, 1, 2", "10 s", "700 MiB")
    assert checkpoint == "epoch 3, best on validation"
    assert "less its variant" not in Path("README.md").read_text()


def test_boards_are_apart_and_a_variant_stands_below_its_method_with_the_paired_difference() -> None:
    for seed in (0, 1):
        make_run("toys/daml", 0.5 + seed / 10, seed)
        make_run("toys/daml_no_adversary", 0.45 + seed / 10, seed)
        make_run("toys/triplet", 0.52, seed, method="Triplet")
    make_run("toys/other", 0.9, **on_split("other"))
    text = tables()
    assert text.count(f"### {MAP}\n") == 2
    names = [line.split(" | ")[0].strip("| ") for line in text.splitlines() if line.startswith("| ")]
    start = names.index("toys/daml")
    assert names[start : start + 3] == ["toys/daml", "– no adversary", "toys/triplet"]
    assert (
        "| toys/daml | no adversary | +0.0500 | +0.0500 | +0.0500 | – | 2 |\n\nWithout an interval, there is one"
        in text
    )
    assert text.count("| toys/daml | no adversary |") == 1


def test_difference_has_the_interval_of_the_test_which_is_kept_as_its_ranks_are_not() -> None:
    runs = {
        name: [
            make_whole_run(Path(f"runs/small/{name}/{seed}"), noise, experiment=name, seed=seed, dataset="Wikipedia")
            for seed in range(3)
        ]
        for name, noise in (("toys/daml", 0.5), ("toys/daml_no_adversary", 0.7))
    }
    text, readme = tables(), Path("README.md").read_text()
    scored = [[score_run(Record.read(run.record), load_ranks(run.ranks)) for run in of] for of in runs.values()]
    found = differences(*scored)
    gains = [
        f"{d.mean:+.4f} \\[{d.interval[0]:+.4f}, {d.interval[1]:+.4f}\\]".replace("-", "−") for d in found.values()
    ]
    assert f"| toys/daml | no adversary | {' | '.join(gains)} | – | 3 |" in text
    assert f"| DAML | no adversary | {gains[2]} | – |" in readme
    assert "Without an interval" not in text + readme
    shutil.rmtree("runs")
    main(["results"])
    assert (Path("experiments/README.md").read_text(), Path("README.md").read_text()) == (text, readme)
    kept = RESULTS / "small.differences.json"
    kept.write_text(kept.read_text().replace(str(found["mean"].mean), "0.9"))
    with pytest.raises(UserError, match="kept of toys/daml and toys/daml_no_adversary is not that of their records"):
        main(["results"])
    kept.write_text('[{"experiment": "toys/daml"}]')
    with pytest.raises(
        UserError, match=r"small\.differences\.json is damaged: 0: conditions: .*; keep the records again"
    ):
        main(["results"])


def test_pairs_with_the_same_weights_are_no_measured_zero_and_a_zero_has_no_minus() -> None:
    for seed in (0, 1):
        for name in ("daml", "ssal", "triplet"):
            make_run(f"toys/{name}", 0.5 + seed / 10, seed, method=name)
        make_run("toys/daml_no_adversary", 0.5 + seed / 10, seed, method="daml")
        make_run("toys/ssal_no_adversary", 0.5, seed, method="ssal")
        make_run("toys/triplet_hard", 0.50001 + seed / 10, seed, method="triplet")
    for name in ("daml", "daml_no_adversary"):
        make_run(f"wikipedia/{name}", 0.5, dataset="Wikipedia")
    text, readme = tables(), Path("README.md").read_text()
    same = "the same weights"
    assert f"| toys/daml | no adversary | {same} | {same} | {same} | – | 2 |" in text
    assert re.search(r"\| toys/ssal \| no adversary \| \+0\.0500 .* \| 2, 1 of them the same weights \|", text)
    assert "| toys/triplet | hard | +0.0000 | +0.0000 | +0.0000 | – | 2 |" in text
    assert text.count(f"Where it says {same}, the checkpoints of a pair were chosen before the two differ") == 2
    assert f"| DAML | no adversary | {same} | – |\n\nWhere it says {same}, the" in readme


def test_published_numbers_stand_below_ours_or_apart() -> None:
    common = {"method": "DAML", "encoder": "toy | encoder", "values": {"mAP": {"i2t": 0.25}}, "standing": "code"}
    agreeing = {"protocol": MAP, "features": "toy features", "source": "A paper"}
    write_claims({**common, **agreeing}, {**common, "protocol": "not stated", "source": "B"})
    make_run("toys/daml", 0.5)
    text = tables()
    assert "| *published: A paper (code)* | DAML | 0.250 (ours +0.260) |  |  |  | toy &#124; encoder |" in text
    assert "Published numbers under other or unknown conditions (1)" in text
    assert "| DAML | mAP | 0.250 |  |  | toy &#124; encoder | not stated | code | B |" in text


def test_readme_shows_the_best_known_data_sets_side_by_side() -> None:
    for dataset, folder in (("Wikipedia", "wikipedia"), ("PascalSentence", "pascal_sentence"), ("Toys", "toys")):
        for seed in range(5):
            make_run(f"{folder}/daml", 0.6 + seed / 100, seed, dataset=dataset)
            make_run(f"{folder}/daml_no_adversary", 0.5, seed, dataset=dataset)
    make_run("wikipedia/cca", 0.4, dataset="Wikipedia", method="CCA")
    main(["results", "runs/small", "--name", "class_level"])
    assert (RESULTS / "class_level.jsonl").exists()
    text = Path("README.md").read_text()
    before, table, after = re.split(f"{re.escape(BEGIN)}|{re.escape(END)}", text)
    assert (before, after) == ("# Mine\n\n", "\n\n## Licence\n")
    found = rows(table)
    assert found["method"] == ["Pascal Sentence: i2t", "t2i", "mean", "game", "Wikipedia: i2t", "t2i", "mean", "game"]
    assert found["DAML"] == ["0.630", "0.610", "0.620 ± 0.016", "–"] * 2
    assert found["DAML, no adversary"] == ["0.510", "0.490", "0.500 ± 0.000", "–"] * 2
    assert found["CCA"] == ["–", "–", "–", "–", "0.410", "0.390", "0.400", "–"]
    assert "Toys" not in table
    assert "- Wikipedia: 1 to 5 runs a method." in table
    assert "| DAML | no adversary | +0.1200 | – | +0.1200 | – |" in table
    first = Path("experiments/README.md").read_text(), text
    main(["results"])
    assert (Path("experiments/README.md").read_text(), Path("README.md").read_text()) == first


def test_what_cannot_be_kept_or_read_is_said() -> None:
    Path("empty").mkdir()
    with pytest.raises(UserError, match="empty holds no record"):
        main(["results", "empty"])
    make_run("toys/daml", 0.5)
    main(["results", "runs/small"])
    with pytest.raises(UserError, match=r"toys/daml seed 0 is already in .*other\.jsonl, line 1; keep one"):
        main(["results", "runs/small", "--name", "other"])
    for line, reason in (
        ('{"experiment": 1}', "runs: Field required"),
        ('{"runs": 1, "same": {"experiment": 1}, "each": {}}', "experiment: "),
        ('{"runs": 2, "same": {}, "each": {"seed": [0]}}', "its values are not those of 2 runs"),
    ):
        (RESULTS / "other.jsonl").write_text(f"{line}\n")
        with pytest.raises(UserError, match=rf"other\.jsonl, line 1 is damaged: {reason}"):
            main(["results"])


def test_committed_tables_are_those_of_the_committed_records() -> None:
    for path, text in written(ROOT).items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is not current: run `python -m cmr_lightning results`"


def test_committed_records_name_no_place_of_a_machine() -> None:
    for path in sorted((ROOT / RESULTS).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert not re.search(r'"(/|[A-Z]:\\|~|file:)', line), f"{path}: {line}"
