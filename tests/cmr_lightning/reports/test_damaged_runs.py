"""One damaged run among others is noted, with what cannot be shown of it, and never ends a report."""

import dataclasses
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record, load_ranks
from cmr_lightning.evaluation.examples import Examples
from cmr_lightning.reports.board import boards, find_runs
from cmr_lightning.reports.board_tables import markdown, terminal, write_csv
from cmr_lightning.reports.curves import training_charts
from cmr_lightning.reports.evidence import evidence_of
from cmr_lightning.reports.galleries import InlinedPictures, differing, gallery
from cmr_lightning.reports.maps import pca_map
from cmr_lightning.reports.page import page
from cmr_lightning.reports.per_class import class_scores
from cmr_lightning.reports.results import keep
from cmr_lightning.runs.run import Run
from tests.cmr_lightning.reports.made_runs import make_composed_run, make_run

Arrays = dict[str, NDArray[Any]]

DAMAGES: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "one less": lambda array: array[1:] if array.ndim else array,
    "one more": lambda array: np.concatenate([array, array[:1]]) if array.ndim else array,
    "none": lambda array: np.empty(0, dtype=array.dtype),
    "another dimension": lambda array: array[None],
    "words": lambda array: np.full(array.shape, "word"),
    "not finite": lambda array: np.full(array.shape, np.nan),
    "below zero": lambda array: np.full(array.shape, -1),
    "far too large": lambda array: np.full(array.shape, 2**62),
    "imaginary": lambda array: array * 1j if array.dtype.kind != "U" else array,
}


def damaged(arrays: Arrays) -> Iterator[tuple[str, Arrays]]:
    """Every array damaged in every way, and left out."""
    for name, array in arrays.items():
        yield f"{name}: missing", {key: value for key, value in arrays.items() if key != name}
        for damage, change in DAMAGES.items():
            yield f"{name}: {damage}", {**arrays, name: change(array)}


@pytest.fixture(scope="module", params=[make_run, make_composed_run])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two whole runs that no test may change."""
    folder = tmp_path_factory.mktemp("runs")
    request.param(folder / "a", noise=0.5)
    request.param(folder / "b", noise=0.1, experiment="toys/other")
    return folder


def test_damaged_ranks_are_refused_or_fit_the_record(runs: Path, tmp_path: Path) -> None:
    run, record = Run(runs / "a"), Record.read(runs / "a" / "record.json")
    copy, refused = Run(tmp_path), 0
    for what, arrays in damaged(dict(np.load(run.ranks))):
        np.savez(copy.ranks, **arrays)
        try:
            evidence_of(copy, record)
        except UserError as error:
            refused += 1
            assert "run `test` again" in str(error), what
    assert refused > 40


def test_damaged_examples_are_refused_or_can_be_shown(runs: Path, tmp_path: Path) -> None:
    measured = find_runs(runs, [])
    (board,) = boards(measured, [])
    other, copy, refused = Examples.read(Run(runs / "b").examples), Run(tmp_path), 0
    for what, arrays in damaged(dict(np.load(Run(runs / "a").examples))):
        np.savez(copy.examples, **arrays)
        try:
            examples = Examples.read(copy.examples)
        except UserError as error:
            refused += 1
            assert "run `test` again" in str(error), what
            continue
        pca_map(examples)
        gallery(("a", examples), True, InlinedPictures())
        differing(("a", examples), ("b", other), True, InlinedPictures())
        class_scores(board, {runs / "a": examples, runs / "b": other}, [])
    assert refused > 100


def test_damaged_records_are_left_out_or_can_be_shown(runs: Path, tmp_path: Path) -> None:
    content = json.loads((runs / "a" / "record.json").read_text())
    other = find_runs(runs / "b", [])
    refused = 0
    values = (None, 0, -1.5, "word", [], [0], {}, {"word": "word"}, True)
    for key, value in itertools.product(content, values):
        Path(tmp_path, "record.json").write_text(json.dumps({**content, key: value}))
        notes: list[str] = []
        found = find_runs(tmp_path, notes)
        refused += not found
        assert found or notes[0].startswith(f"{tmp_path} is left out: "), (key, value)
        tables = boards([*found, *other], [])
        write_csv(tables, tmp_path / "report.csv")
        markdown(tables)
        list(map(terminal, tables))
        if found:
            keep(tmp_path, tmp_path / "kept.jsonl")
    assert refused > 100


CSV = "epoch,step,val/map@all/cos/label/i2t\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "epoch,val/map@all/cos/label/i2t\n0,0.5\n",
        CSV + "0,10,0.5\n1,20,0.",
        CSV + "0,10,0.5\n1,20\n",
        CSV + "0,10,0.5\n1,20,0.5,0.5\n",
        CSV + "0,,0.5\n",
        CSV + "0,nan,0.5\n",
        CSV + "0,inf,0.5\n",
        CSV + "zero,10,0.5\n",
        CSV + "0,10,half\n",
        CSV + '0,10,"0.5\n',
        CSV + "0,10,0.5\0\n",
        CSV + "0,10," + "5" * 200_000 + "\n",
        b"\xff\xfe",
        b"PK\x03\x04",
    ],
)
def test_damaged_logs_are_noted(text: str | bytes, runs: Path, tmp_path: Path) -> None:
    (board,) = boards(find_runs(runs, []), [])
    run = board.rows[0].runs[0]
    Run(tmp_path).metrics.write_bytes(text if isinstance(text, bytes) else text.encode())
    here = dataclasses.replace(board.rows[0], runs=(dataclasses.replace(run, folder=Run(tmp_path)),))
    notes: list[str] = []
    training_charts(dataclasses.replace(board, rows=(here,)), notes)
    assert len(notes) == 1
    assert notes[0].startswith(f"{tmp_path} has no curves by epoch: metrics.csv is damaged: ")


def archive(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in members.items():
            content.writestr(f"{name}.npy", data)
    return file.getvalue()


def header(shape: str, dtype: str = "<i8") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no archive",
        archive(),
        archive(words=b""),
        archive(words=b"\x93NUMPY"),
        archive(words=header("(1000000000000, 8)")),
        archive(words=header("(4,)", "|O") + b"cos\nsystem\n(S'touch x'\ntR."),
        archive(words=header("(-1,)")),
        archive(words=header("(" * 5000)),
        archive(words=header("(4,)")),
        archive(words=header("(268435457,)", "|u1") + bytes(2**28 + 1)),
        archive(words=header("(8,)", "|u1") + b"[" * 8),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("read", [load_ranks, Examples.read])
def test_archives_of_others_are_refused_before_they_fill_the_memory(
    content: bytes, read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmr_lightning.evaluation.ranks._MOST_BYTES", 2**20)
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"file\.npz is .*run `test` again"):
        read(path)


def test_a_report_of_whole_and_damaged_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmr_lightning.reports.page.tsne_map", lambda examples: [])
    for name in ("whole", "record", "ranks", "examples", "metrics"):
        make_run(tmp_path / name, experiment=f"toys/{name}")
    for name, file in (("record", "record.json"), ("ranks", "ranks.npz"), ("examples", "examples.npz")):
        path = tmp_path / name / file
        path.write_bytes(path.read_bytes()[:-50])
    metrics = tmp_path / "metrics" / "metrics.csv"
    metrics.write_text(metrics.read_text()[:-5])
    notes: list[str] = []
    tables = boards(find_runs(tmp_path, notes), [])
    assert {row.experiment for row in tables[0].rows} == {"toys/whole", "toys/ranks", "toys/examples", "toys/metrics"}
    html = page(tables, notes)
    for name, what in (
        ("record", "is left out"),
        ("ranks", "has no comparison"),
        ("examples", "has no map"),
        ("metrics", "has no curves"),
    ):
        assert any(note.startswith(f"{tmp_path / name} {what}") for note in notes), notes
        assert f"{tmp_path / name} {what}" in html
