"""`results`: committed records of finished runs, and the tables that are written from them.

`experiments/results/<benchmark>.jsonl` holds a line for each row of a table, see `kept_records`, always in the same
order, so a diff shows which results changed. Beside it `<benchmark>.differences.json` holds what tables need of the
ranks, which are not kept, and `<benchmark>.effects<n>.svg` draws what terms add.
`experiments/README.md` and the table in the project's README are written from these files alone.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.files.file_lock import locked_in_turn
from cmr_lightning.files.json_file import read_json
from cmr_lightning.files.names import check_name
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.reports.ablations import KeptDifference, ablations
from cmr_lightning.reports.board import Conditions, MeasuredRun, boards, find_runs, regime_of
from cmr_lightning.reports.claims import CLAIMS, read_claims
from cmr_lightning.reports.difference import Difference
from cmr_lightning.reports.effects import draw_effects, title_of
from cmr_lightning.reports.kept_records import KeptRow, read_row
from cmr_lightning.reports.results_tables import BEGIN, END, all_tables, insert, overview
from cmr_lightning.runs.run import Run

RESULTS = Path("experiments/results")
TABLES = Path("experiments/README.md")
README = Path("README.md")

_DIFFERENCES, _EFFECTS = ".differences.json", ".effects{}.svg"

_DIGITS = 6


def main(arguments: Sequence[str]) -> None:
    """Keep the records of a benchmark, if one is named, and write the tables of all that are kept.

    Raises:
        UserError: There are no records, a record is broken, or a run is kept twice.
    """
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning results",
        description=f"Rewrite {TABLES} and the table in {README} from the records in {RESULTS}.",
    )
    parser.add_argument("runs", nargs="?", type=Path, help="first keep the records of the runs in this folder")
    parser.add_argument("--name", help=f"keep them as {RESULTS}/NAME.jsonl (default: the name of the folder)")
    options = parser.parse_args(arguments[1:])
    with locked_in_turn(RESULTS / ".lock"):
        if options.runs is not None:
            name = check_name(options.name or options.runs.resolve().name, "file of results", nested=False)
            path = RESULTS / f"{name}.jsonl"
            print(f"Kept {keep(options.runs, path)} records in {path}.")
        for path, text in written(Path()).items():
            write_whole(path, text)
            print(f"Wrote {path}.")


def written(root: Path) -> dict[Path, str]:
    """Make the files that belong to the committed records in the project's folder `root`."""
    claims = read_claims(root / CLAIMS) if (root / CLAIMS).is_dir() else []
    tables, kept = boards(read_results(root / RESULTS), claims), read_differences(root / RESULTS)
    files = {root / TABLES: all_tables(tables, claims, kept, figures(root / RESULTS))}
    readme = root / README
    text = readme.read_text(encoding="utf-8") if readme.exists() else ""
    if BEGIN in text and END in text:
        files[readme] = insert(text, overview(tables, kept))
    return files


def keep(runs: Path, path: Path) -> int:
    """Replace the content of a file by the records of all runs in a folder, one a line, and return their number.

    Those that are damaged are named and left out. The differences of methods and their variants are kept beside it.

    Raises:
        UserError: There is none that can be read.
    """
    notes: list[str] = []
    measured = find_runs(runs, notes)
    if not measured:
        raise UserError(" ".join(notes))
    for note in notes:
        print(f"Note: {note}")
    path.parent.mkdir(parents=True, exist_ok=True)
    of_rows: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for record in sorted((run.record for run in measured), key=_identity):
        of_rows[_row_of(record)].append(_portable(record))
    write_whole(path, "".join(KeptRow.of(runs).line() for runs in of_rows.values()))
    tables = boards(measured, [])
    found = [
        asdict(KeptDifference(board.conditions, ablation.method.experiment, ablation.variant.experiment, directions))
        for board in tables
        for ablation in ablations(board)
        if (directions := ablation.measured)
    ]
    write_whole(path.with_suffix(_DIFFERENCES), json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for old in path.parent.glob(path.stem + _EFFECTS.format("*")):
        old.unlink()
    for number, (_, svg) in enumerate(draw_effects(tables)):
        write_whole(path.with_suffix(_EFFECTS.format(number)), svg)
    return len(measured)


def figures(folder: Path) -> dict[str, str]:
    """List the figures of what terms add by their paths from `TABLES`, with what each shows."""
    found = sorted(folder.glob("*" + _EFFECTS.format("*")))
    return {f"{folder.name}/{path.name}": title_of(path.read_text(encoding="utf-8")) for path in found}


def read_differences(folder: Path) -> dict[tuple[Conditions, str, str], dict[str, Difference]]:
    """Read the differences of all `*.differences.json` of a folder, by conditions, method and variant.

    Raises:
        UserError: A file does not have that form.
    """
    files = sorted(folder.glob(f"*{_DIFFERENCES}"))
    kept = [
        one for path in files for one in read_json(path, list[KeptDifference], "keep the records again by `results`")
    ]
    return {(one.conditions, one.experiment, one.variant): one.directions for one in kept}


def read_results(folder: Path) -> list[MeasuredRun]:
    """Read the runs of all `*.jsonl` of a folder, each as if in the folder in which `fit` would repeat it.

    Raises:
        UserError: A line is no record, or a run occurs twice.
    """
    places: dict[tuple[Any, ...], str] = {}
    runs = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            place = f"{path}, line {number}"
            for content in read_row(line, place):
                record = Record.kept(content, place)
                if (first := places.get(_identity(record))) is not None:
                    raise UserError(f"{place}: {record.experiment} seed {record.seed} is already in {first}; keep one.")
                places[_identity(record)] = place
                runs.append(MeasuredRun(Run(Path("runs") / record.experiment / f"seed{record.seed}"), record, None))
    return runs


def _row_of(record: Record) -> tuple[Any, ...]:
    """Return what the runs of a row of a table share."""
    encoders = record.encoders
    return (
        *(record.dataset, record.protocol, str(encoders["features"]), record.experiment, record.method),
        *(str(encoders["image"]), str(encoders["text"]), regime_of(record)),
    )


def _identity(record: Record) -> tuple[Any, ...]:
    """Return what distinguishes a run from all others, which also orders the rows of a file and the runs of a row."""
    return *_row_of(record), record.seed, record.split["name"]


def _portable(record: Record) -> dict[str, Any]:
    """Return a record without its config, which experiment and revision determine, and without the machine's name."""
    content = asdict(record)
    del content["config"]
    content["hardware"].pop("system", None)
    content["metrics"] = {protocol: _rounded(values) for protocol, values in record.metrics.items()}
    content["game"] = _rounded(record.game)
    return content


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, _DIGITS) if isinstance(value, float) else value for name, value in values.items()}
