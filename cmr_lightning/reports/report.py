"""`report`: runs side by side, in the terminal, as one HTML file, as Markdown and as CSV."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmr_lightning.errors import UserError
from cmr_lightning.files.file_lock import locked_in_turn
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.runs.run import records_below

if TYPE_CHECKING:
    from cmr_lightning.reports.board import Board


def main(arguments: Sequence[str]) -> None:
    """Print a table of the runs that the command line names, and write the report.

    Raises:
        UserError: A folder holds no record, none can be read, or no run is of a reference.
    """
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning report",
        description="Put runs side by side; writes report.html, report.md and report.csv.",
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or one that holds runs")
    parser.add_argument("--output", type=Path, default=Path("report"), help="folder of the report (default: report)")
    parser.add_argument(
        "--reference",
        action="append",
        default=[],
        help="experiment that the others are compared with, such as triplet; given more than once, each table takes "
        "the first that it has",
    )
    options = parser.parse_args(arguments[1:])
    for folder in options.runs:
        records_below(folder)
    # here and not above, so that a wrong command line is answered at once
    from rich.console import Console

    from cmr_lightning.reports.board import boards, find_runs
    from cmr_lightning.reports.board_tables import LEGEND, remarks, terminal
    from cmr_lightning.reports.claims import CLAIMS, read_claims
    from cmr_lightning.reports.row_game import GAME_LEGEND

    notes: list[str] = []
    runs = {run.folder.path.resolve(): run for folder in options.runs for run in find_runs(folder, notes)}
    if not runs:
        raise UserError(" ".join(notes))
    claims = read_claims(CLAIMS) if CLAIMS.is_dir() else []
    if not CLAIMS.is_dir():
        notes.append(f"No published numbers are shown: the working directory has no folder {CLAIMS}.")
    tables = boards(list(runs.values()), claims, options.reference)
    console = Console()
    for board in tables:
        console.print(terminal(board))
        for remark in remarks(board):
            console.print(remark, markup=False, soft_wrap=True)
    for legend in (LEGEND, GAME_LEGEND):
        console.print(legend, markup=False, soft_wrap=True)
    with locked_in_turn(options.output / ".lock"):
        _write(tables, notes, options.output)
    for note in dict.fromkeys(notes):
        console.print(f"Note: {note}", markup=False, soft_wrap=True)
    console.print(f"Wrote {options.output / 'report.html'}, report.md and report.csv.", markup=False, soft_wrap=True)


def _write(tables: "Sequence[Board]", notes: list[str], folder: Path) -> None:
    """Write the three files of a report."""
    from cmr_lightning.reports.board_tables import markdown, write_csv
    from cmr_lightning.reports.page import page

    write_whole(folder / "report.html", page(tables, notes))
    write_whole(folder / "report.md", markdown(tables))
    write_csv(tables, folder / "report.csv")
