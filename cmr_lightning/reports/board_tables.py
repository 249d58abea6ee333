"""The leaderboard as text: in the terminal, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.reports.board import Board, PublishedResult, Row
from cmr_lightning.reports.statistics import Summary

LEGEND = (
    "± is the standard deviation over runs, brackets hold the 95 % interval of their mean, somewhat too short where "
    "runs are on several splits, whose training parts overlap. Rows that share a letter cannot be told apart at 5 %; "
    "▲ and ▼ were found better and worse than the reference, = neither (paired randomisation test over queries, "
    "corrected by Holm)."
)


def number(value: float, beside: float | None = None) -> str:
    """A metric, or what is `beside` one, with as many digits as are worth reading: three up to 1, one above."""
    return f"{value:.3f}" if abs(value if beside is None else beside) <= 1 else f"{value:.1f}"


def difference(value: float) -> str:
    """A difference of metrics, with its sign."""
    return f"{'+' if value >= 0 else '−'}{number(abs(value))}"


def duration(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(peak: Mapping[str, int]) -> str:
    """A peak of memory for people; empty if it was not measured."""
    named = {"process_mib": "", "gpu_mib": "GPU "}
    return ", ".join(f"{name}{_mebibytes(peak[key])}" for key, name in named.items() if key in peak)


def _mebibytes(size: int) -> str:
    return f"{size} MiB" if size < 1024 else f"{size / 1024:.1f} GiB"


def spread(found: Summary) -> str:
    """Mean, and with several values their standard deviation."""
    return number(found.mean) if found.std is None else f"{number(found.mean)} ± {number(found.std, found.mean)}"


def interval(found: Summary) -> str:
    """The 95 % interval of the mean; empty for one value."""
    if found.interval is None:
        return ""
    low, high = (number(end, found.mean) for end in found.interval)
    return f"[{low}, {high}]"


def title(board: Board) -> str:
    """What the rows of a board agree in, in a line."""
    conditions = board.conditions
    splits = ", ".join(name for name, _, _ in conditions.splits)
    return f"{conditions.dataset}, {splits}, {conditions.protocol}, test part"


def remarks(board: Board) -> list[str]:
    """What the marks of a board refer to, and why there are none, if so."""
    reference = [] if board.reference is None else [f"Reference: {board.reference}."]
    return reference if board.refusal is None else [*reference, f"Not compared: {board.refusal}"]


def terminal(board: Board) -> Table:
    """A board for the terminal: one row per experiment, best first."""
    result = Table(title=f"{escape(title(board))}\n{escape(board.conditions.features)}", title_justify="left")
    result.add_column("experiment", overflow="fold")
    *directions, main = board.protocol.columns
    for heading in (*directions, main, "", "runs", "fit"):
        result.add_column(heading, justify="left" if heading == "" else "right", no_wrap=True)
    result.add_column("encoders", overflow="fold")
    for row in board.rows:
        found = row.summaries
        scores = [*(number(found[direction].mean) for direction in directions), spread(found[main])]
        cells = [*scores, _marks(row, main), str(len(row.runs)), duration(row.fit_seconds)]
        result.add_row(*map(escape, [row.experiment, *cells, row.encoder or "none"]))
    return result


def markdown(boards: Sequence[Board]) -> str:
    """All boards as Markdown tables."""
    lines = ["# Report", "", LEGEND, ""]
    for board in boards:
        lines += [f"## {cell(title(board))}", "", f"Features: {cell(board.conditions.features)}.", ""]
        for remark in remarks(board):
            lines += [cell(remark), ""]
        columns = board.protocol.columns
        lines += [
            f"| experiment | method | encoders | {' | '.join(columns)} | seeds | fit | memory |",
            f"|{'---|' * (6 + len(columns))}",
        ]
        for row in board.rows:
            scores = [
                " ".join(filter(None, (spread(s), interval(s), _marks(row, direction))))
                for direction, s in row.summaries.items()
            ]
            cells = [row.experiment, row.record.method, row.encoder or "none", *scores, row.seeds]
            cost = f"{duration(row.fit_seconds)} | {memory(row.peak_memory)}"
            lines.append(f"| {' | '.join(map(cell, cells))} | {cost} |")
            lines += [_published_line(published, columns) for published in row.published]
        lines.append("")
    return "\n".join(lines)


def write_csv(boards: Sequence[Board], path: Path) -> None:
    """All boards as one CSV file, a line per experiment and direction."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(
        [
            *("dataset", "splits", "protocol", "features", "experiment", "method", "image_encoder", "text_encoder"),
            *("direction", "runs", "seeds", "mean", "std", "low", "high", "letters", "reference", "difference"),
            *("p_value", "p_holm", "fit_s", "test_s", "process_mib", "gpu_mib", "parameters"),
        ]
    )
    for board in boards:
        for row in board.rows:
            writer.writerows(_csv_line(board, row, direction) for direction in board.protocol.columns)
    write_whole(path, text.getvalue())


def _csv_line(board: Board, row: Row, direction: str) -> list[object]:
    conditions, record, found = board.conditions, row.record, row.summaries[direction]
    compared = row.comparisons and row.comparisons[direction]
    tested = [compared.difference, compared.p_value, compared.p_holm] if compared else [None] * 3
    return [
        conditions.dataset,
        "; ".join(f"{name} ({checksum})" for name, checksum, _ in conditions.splits),
        conditions.protocol,
        conditions.features,
        row.experiment,
        record.method,
        record.encoders["image"],
        record.encoders["text"],
        direction,
        found.n,
        " ".join(str(run.record.seed) for run in row.runs),
        found.mean,
        found.std,
        *(found.interval or (None, None)),
        compared.letters if compared else None,
        board.reference,
        *tested,
        round(row.fit_seconds, 3),
        round(row.test_seconds, 3),
        row.peak_memory.get("process_mib"),
        row.peak_memory.get("gpu_mib"),
        record.num_parameters,
    ]


def _marks(row: Row, direction: str) -> str:
    letters = row.comparisons[direction].letters if row.comparisons else ""
    return f"{letters} {row.mark(direction)}".strip()


def _published_line(published: PublishedResult, columns: Sequence[str]) -> str:
    claim, differences = published.claim, published.differences
    cells = [
        f"{number(claim.values[d])} (ours − published {difference(differences[d])})" if d in claim.values else ""
        for d in columns
    ]
    named = [f"published: {claim.source}", claim.method, claim.encoder]
    return f"| {' | '.join(map(cell, named))} | {' | '.join(cells)} | {claim.standing} | | |"


def cell(text: str) -> str:
    """Text that neither ends a cell of a Markdown table nor is read as HTML."""
    flat = " ".join(str(text).split())
    for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "&#124;"), ("`", "&#96;")):
        flat = flat.replace(character, entity)
    for character in "\\*_[]":
        flat = flat.replace(character, f"\\{character}")
    return flat
