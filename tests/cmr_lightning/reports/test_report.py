"""The report's three files: what stands in them, and that no text of a data set does anything there."""

import csv
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cmr_lightning.__main__ import main as run_command
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.reports.board import boards, find_runs
from cmr_lightning.reports.board_tables import LEGEND, write_csv
from cmr_lightning.reports.page import repeating_command
from cmr_lightning.reports.report import main
from tests.building import write_toy
from tests.cmr_lightning.reports.made_runs import MAP, make_composed_run, make_run, on_split, write_claims

EVIL = "<script>alert(1)</script>"
EVIL_NAME = "a\"b'c onerror=alert(1) </style>.jpg"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(*arguments: str) -> str:
    main(["report", "runs", *arguments])
    return Path("report/report.html").read_text(encoding="utf-8")


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_texts_of_data_sets_do_nothing_in_any_file() -> None:
    changes = {
        "method": EVIL,
        "dataset": f"{EVIL}|",
        "experiment": f"toys/{EVIL}",
        "encoders": {"image": EVIL, "text": EVIL_NAME, "features": EVIL},
        "split": {"name": EVIL_NAME, "checksum": EVIL},
        "config": {"key": EVIL, "other": EVIL_NAME},
        "hardware": {"cpu": EVIL},
        "git_revision": EVIL,
    }
    make_run(Path("runs") / EVIL_NAME.replace("/", ""), caption=EVIL, name=EVIL_NAME, **changes)
    make_run(Path("runs/b"), caption="</title>" + EVIL, name=EVIL_NAME, **{**changes, "experiment": "toys/other"})
    page = Page(written())
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "img", "iframe", "object", "embed", "link", "base", "form"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert EVIL in page.text
    assert any(attributes.get("aria-label") == EVIL_NAME for _, attributes in page.elements)
    assert len([tag for tag, _ in page.elements if tag == "style"]) == 1
    assert "<script" not in Path("report/report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name", ["=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", " =1", "\n@1", "＝1", "toys/=1"]
)
def test_no_text_is_a_formula_of_a_spreadsheet(name: str) -> None:
    encoders = {"image": name, "text": name, "features": name}
    make_run(Path("runs/a"), experiment=name, method=name, dataset=name, encoders=encoders, examples=False)
    write_csv(boards(find_runs(Path("runs"), []), []), Path("report.csv"))
    with Path("report.csv").open(newline="", encoding="utf-8") as file:
        cells = [cell for line in csv.reader(file) for cell in line]
    texts = [cell for cell in cells if name in cell]
    assert len(texts) >= 3 * 5
    assert all(cell == (name if name == "toys/=1" else f"'{name}") for cell in texts)


def test_page_needs_no_other_file() -> None:
    make_run(Path("runs/a"))
    html = written()
    page = Page(html)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith("#")
    assert re.findall(r"url\(([^)]{0,30})", html)
    assert all(target.startswith("data:image/jpeg;base64,") for target in re.findall(r"url\(([^)]{0,30})", html))
    assert "@import" not in html


def test_page_has_every_section_and_each_picture_once() -> None:
    make_run(Path("runs/daml/seed0"), noise=0.1)
    make_run(Path("runs/triplet/seed0"), noise=2.0, experiment="toys/triplet", method="Triplet")
    html = written("--reference", "triplet")
    headings = ("Training", "The adversarial game", "Rankings of the test part", "The common space", "Scores by class")
    for heading in (*headings, "Queries and what was found", "How the runs were made"):
        assert f"<h3>{heading}</h3>" in html
    assert "Not compared: each experiment has one seed" in html
    assert "Which differences are found" not in html
    assert "toys/triplet<small>reference</small>" in html
    assert "Where toys/daml and toys/triplet differ most" in html
    assert "--run_dir=runs/daml/seed0-again" in html
    assert len(re.findall(r"url\(data:", html)) == len(set(re.findall(r"url\(data:([^)]*)\)", html))) == 2


def test_what_lacks_runs_is_named_and_its_queries_are_not_set_against_those_of_another_split() -> None:
    for seed in (0, 1):
        make_run(Path(f"runs/a{seed}"), noise=0.1, experiment="toys/a", seed=seed, **on_split(str(seed)))
    make_run(Path("runs/b1"), experiment="toys/b", seed=1, **on_split("1"))
    html = written()
    assert "Not compared: toys/b (1 of 2 splits), as tests need all splits; finish the missing runs" in html
    assert "Where toys/a and toys/b differ most" not in html


def test_published_numbers_stand_beside_ours_with_source_and_standing() -> None:
    stated = {"protocol": MAP, "features": "toy features", "source": f"A paper {EVIL}", "standing": "paper"}
    unstated = {"protocol": "not stated", "source": "Hearsay", "standing": "recalled", "note": EVIL}
    common = {"method": "DAML", "encoder": EVIL, "values": {"mAP": {"i2t": 0.25, "mean": 0.3}}}
    write_claims({**stated, **common}, {**unstated, **common})
    make_run(Path("runs/a"), noise=0.0)  # a perfect ranking
    page = Page(written())
    assert re.search(r"ours − published\s*DAML, mAP\s+0\.250\+0\.750\s", page.text)
    assert "paper: a table of the paper that proposed the method" in page.text
    assert "Published numbers under other or unknown conditions (1)" in page.text
    assert "Hearsay" in page.text
    assert page.text.count(EVIL) == 4
    assert "script" not in {tag for tag, _ in page.elements}
    assert "ours − published +0.750" in Path("report/report.md").read_text(encoding="utf-8")


def test_composed_queries_have_one_direction_in_every_file(capsys: pytest.CaptureFixture) -> None:
    make_run(Path("runs/pairs"))
    for seed in range(2):
        make_composed_run(Path(f"runs/tirg/seed{seed}"), noise=0.1, seed=seed)
        make_composed_run(Path(f"runs/concat/seed{seed}"), noise=0.6, seed=seed, experiment="composed/concat")
    page = Page(written("--reference", "concat"))
    for heading in ("Recall@K in %, c2i", "Precision by recall, c2i", "val/recall@1/cos/target/c2i"):
        assert heading in page.text
    assert "c2i: image asks with a text that says what to change, images answer" in page.text
    assert page.text.count("asked for") > 6
    markdown = Path("report/report.md").read_text(encoding="utf-8")
    assert "| experiment | method | encoders | c2i | game | seeds | fit | memory |" in markdown
    assert "| experiment | method | encoders | i2t | t2i | mean | game | seeds | fit | memory |" in markdown
    assert "| composed/tirg | TIRG | FeatureMLP | 100.0 ± 0.0" in markdown
    with Path("report/report.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["dataset"] == "ComposedToys"]
    assert [line["direction"] for line in lines] == ["c2i", "c2i"]
    assert lines[1]["experiment"] == "composed/concat" == lines[0]["reference"]
    assert float(lines[0]["difference"]) == pytest.approx(100 - float(lines[1]["mean"]))
    assert "c2i" in capsys.readouterr().out


def test_missing_files_and_parts_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    make_run(Path("runs/old"), examples=False)
    make_run(Path("runs/new"), experiment="toys/new")
    make_run(Path("runs/record"), experiment="toys/record", examples=False)
    for missing in ("old/metrics.csv", "new/ranks.npz", "record/metrics.csv", "record/ranks.npz"):
        Path("runs", missing).unlink()
    make_run(Path("runs/broken"), experiment="toys/broken").examples.write_text("no archive")
    monkeypatch.setattr("cmr_lightning.reports.galleries._PICTURE_BYTES", 1)
    page = Page(written())
    assert "toys/record" in page.text
    assert "runs/broken/examples.npz is not a file of examples" in page.text
    assert "pictures of galleries are left out" in page.text
    assert "runs/old has no map, gallery and scores by class" in page.text
    assert "runs/old has no curves by epoch" in page.text
    assert "runs/new has no comparison, curves of its ranking and scores by class" in page.text
    assert "no folder experiments/claims" in page.text


def test_sixty_runs_stay_below_15_megabytes() -> None:
    for method in range(12):
        for seed in range(5):
            changes = {"experiment": f"toys/m{method}", "seed": seed, **on_split(str(seed))}
            make_run(Path(f"runs/m{method}/seed{seed}"), noise=0.1 + method / 4, **changes)
    html = written("--reference", "m3")
    assert len(html.encode()) < 15e6
    assert html.count("<h2>") == 1
    assert "<h3>Which differences are found</h3>" in html
    assert "5 splits, as here" in html
    assert html.count('class="better" title="+') > 0
    assert html.count("Repeat it:") == 60
    lines = list(csv.DictReader(Path("report/report.csv").read_text().splitlines()))
    assert len(lines) == 12 * 3
    assert {line["runs"] for line in lines} == {"5"}
    assert lines[0]["experiment"] == "toys/m0"
    assert sum(line["p_holm"] != "" for line in lines) == 11 * 3
    assert Path("report/report.md").read_text().count("| toys/m") == 12


def test_terminal_shows_the_table_its_legend_and_where_the_report_is(capsys: pytest.CaptureFixture) -> None:
    for name, noise in (("good", 0.5), ("bad", 5.0)):
        for seed in range(3):
            make_run(Path("runs") / name / str(seed), noise=noise, experiment=f"toys/{name}", seed=seed)
    main(["report", "runs", "runs/good", "--output", "elsewhere", "--reference=bad"])
    printed = capsys.readouterr().out
    assert printed.count("toys/good") == 1  # the same run given twice is one run
    assert "▲" in printed.partition("Reference: toys/bad.\n3 seeds find a true difference of")[0]
    assert f"\n{LEGEND}\n" in printed
    assert str(Path("elsewhere/report.html")) in printed
    assert Path("elsewhere/report.csv").exists()


def test_why_nothing_was_compared_is_said_everywhere(capsys: pytest.CaptureFixture) -> None:
    for name in ("a", "b"):
        make_run(Path("runs/daml") / name)  # two runs with one seed
    make_run(Path("runs/other"), experiment="toys/other")
    html = written()
    assert "Not compared: toys/daml has 2 runs with seed 0" in html
    for text in (capsys.readouterr().out, Path("report/report.md").read_text().replace("\\", "")):
        assert "\nNot compared: toys/daml has 2 runs with seed 0" in text


@pytest.mark.slow
def test_the_command_that_repeats_a_run_does(no_pictures: None) -> None:
    path = Path('runs/it\'s "here"')
    assert run_command(["fit", f"--config={write_toy(Path('toy.yaml'))}", f"--run_dir={path}"]) == 0
    assert run_command(["test", f"--config={path / 'config.yaml'}"]) == 0
    (measured,) = find_runs(Path("runs"), [])
    for command in repeating_command(measured).split(" && "):
        program, *words = shlex.split(command)
        assert [program, *words[:2]] == ["python", "-m", "cmr_lightning"]
        assert run_command(words[2:]) == 0
    again = Record.read(Path('runs/it\'s "here"-again/record.json'))
    assert again.metrics == measured.record.metrics


def test_what_cannot_be_reported_is_said() -> None:
    make_run(Path("runs/a"))
    with pytest.raises(UserError, match=r"reference nobody; the experiments are toys/daml\."):
        main(["report", "runs", "--reference", "nobody"])
    Path("empty").mkdir()
    with pytest.raises(UserError, match="holds no record"):
        main(["report", "empty"])
