"""The leaderboard as text: in the terminal, as Markdown and as CSV."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from rich.markup import escape
from rich.table import Table

from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.reports.board import Board, PublishedResult, Row
from cmr_lightning.reports.row_game import GAME_LEGEND, RowGame
from cmr_lightning.reports.statistics import LEVEL, Summary

LEGEND = (
    "± is the standard deviation over runs, brackets hold the 95 % confidence interval of their mean over other seeds, "
    "and over other splits where each seed has its own. Rows that share a letter do not differ significantly at 5 %; ▲ "
    "and ▼ are significantly better and worse than the reference, = neither: a test over seeds and queries, corrected "
    "by Holm, so that it holds for other seeds and other queries."
)


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and their full-width forms

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "`": "&#96;", **{mark: f"\\{mark}" for mark in "\\*_[]"}}
)


def number(value: float, beside: float | None = None) -> str:
    """Format a metric, or a number that is shown `beside` one: three digits up to 1, one digit above.

    Examples:
        >>> number(0.12345), number(61.234), number(0.5, beside=61.234)
        ('0.123', '61.2', '0.5')
    """
    return f"{value:.3f}" if abs(value if beside is None else beside) <= 1 else f"{value:.1f}"


def difference(value: float) -> str:
    """Format a difference of metrics with its sign."""
    return f"{'+' if value >= 0 else '−'}{number(abs(value))}"


def duration(seconds: float) -> str:
    """Format a duration in seconds, minutes or hours.

    Examples:
        >>> duration(90), duration(600), duration(9000)
        ('90 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def memory(peak: Mapping[str, int]) -> str:
    """Format a peak of memory; empty if it was not measured."""
    named = {"process_mib": "", "gpu_mib": "GPU "}
    sizes = {key: f"{mib} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB" for key, mib in peak.items()}
    return ", ".join(f"{name}{sizes[key]}" for key, name in named.items() if key in sizes)


def spread(found: Summary) -> str:
    """Format mean and, of several values, standard deviation."""
    return number(found.mean) if found.std is None else f"{number(found.mean)} ± {number(found.std, found.mean)}"


def interval(found: Summary) -> str:
    """Format the 95 % confidence interval of the mean; empty for one value."""
    if found.interval is None:
        return ""
    low, high = (number(end, found.mean) for end in found.interval)
    return f"[{low}, {high}]"


def title(board: Board) -> str:
    """Say in one line what the rows of a board agree in."""
    conditions = board.conditions
    splits = ", ".join(name for name, _, _ in conditions.splits)
    regime = f", trained with {conditions.regime}" if conditions.regime else ""
    return f"{conditions.dataset}, {splits}, {conditions.protocol}, test part{regime}"


def remarks(board: Board) -> list[str]:
    """Name the reference of a board, the reason why rows were not compared, and which differences are found."""
    reference = [] if board.reference is None else [f"Reference: {board.reference}."]
    refusal = [] if board.refusal is None else [f"Not compared: {board.refusal}"]
    return [*reference, *refusal, *power_in_words(board)]


def power_in_words(board: Board) -> list[str]:
    """Say in one sentence which differences the seeds of a board find; none where nothing was compared."""
    if board.typical is None:
        return []
    pairs = math.comb(sum(row.comparisons is not None for row in board.rows), 2)
    seeds = seeds_in_words(board, board.typical.seeds)
    alone = f"{seeds} find a true difference of {number(board.typical.detectable())} four times in five"
    corrected = f", and one of {number(board.typical.detectable(LEVEL / pairs))} after Holm's correction for {pairs}"
    return [f"{alone}{corrected + ' pairs' if pairs > 1 else ''}."]


def seeds_in_words(board: Board, number: int) -> str:
    """Count the seeds of a board, or its splits, if it has several."""
    return f"{number} {'seeds' if len(board.conditions.splits) == 1 else 'splits'}"


def terminal(board: Board) -> Table:
    """Lay out a board for the terminal: one row per experiment, best first."""
    result = Table(title=f"{escape(title(board))}\n{escape(board.conditions.features)}", title_justify="left")
    result.add_column("experiment", overflow="fold")
    *directions, main = board.protocol.columns
    for heading in (*directions, main, "", "game", "runs", "fit"):
        justify: Literal["left", "right"] = "left" if heading in ("", "game") else "right"
        result.add_column(heading, justify=justify, no_wrap=heading != "game")
    for row in board.rows:
        found = row.summaries
        scores = [*(number(found[direction].mean) for direction in directions), spread(found[main])]
        cells = [*scores, _marks(row, main), row.game_word, str(len(row.runs)), duration(row.fit_seconds)]
        result.add_row(*map(escape, [row.experiment, *cells]))
    return result


def markdown(boards: Sequence[Board]) -> str:
    """Lay out all boards as Markdown tables."""
    lines = ["# Report", "", LEGEND, "", GAME_LEGEND, ""]
    for board in boards:
        facts = [f"Features: {board.conditions.features}.", *remarks(board)]
        lines += [f"## {cell(title(board))}", "", *(line for fact in facts for line in (cell(fact), ""))]
        columns = board.protocol.columns
        rows: list[list[str]] = []
        for row in board.rows:
            scores = [f"{scores_of(found)} {_marks(row, d)}".strip() for d, found in row.summaries.items()]
            rest = [row.game_word, row.seeds, duration(row.fit_seconds), memory(row.peak_memory)]
            rows.append([row.experiment, row.record.method, row.encoder or "none", *scores, *rest])
            rows += [_published_cells(published, columns) for published in row.published]
        header = ["experiment", "method", "encoders", *columns, "game", "seeds", "fit", "memory"]
        lines += [markdown_table(header, (map(cell, cells) for cells in rows)), ""]
    return "\n".join(lines)


def scores_of(found: Summary) -> str:
    """Format mean, standard deviation and interval."""
    return f"{spread(found)} {interval(found)}".rstrip()


def write_csv(boards: Sequence[Board], path: Path) -> None:
    """Write all boards as one CSV file, a line per experiment and direction."""
    lines = [_csv_line(board, row, column) for board in boards for row in board.rows for column in row.summaries]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, lines[0])
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in line.items()} for line in lines)
    write_whole(path, text.getvalue())


def _plain(value: object) -> object:
    """Return the value of a cell so that no spreadsheet takes a text for a formula, as OWASP advises."""
    return f"'{value}" if isinstance(value, str) and value.lstrip().startswith(_FORMULA) else value


def _csv_line(board: Board, row: Row, direction: str) -> dict[str, object]:
    conditions, record, found = board.conditions, row.record, row.summaries[direction]
    low, high = found.interval or (None, None)
    compared = row.comparisons[direction] if row.comparisons else None
    apart = compared and compared.difference
    apart_low, apart_high = apart.interval if apart else (None, None)
    return {
        "dataset": conditions.dataset,
        "splits": "; ".join(f"{name} ({checksum})" for name, checksum, _ in conditions.splits),
        "protocol": conditions.protocol,
        "features": conditions.features,
        "regime": conditions.regime,
        "experiment": row.experiment,
        "method": record.method,
        "image_encoder": record.encoders["image"],
        "text_encoder": record.encoders["text"],
        "direction": direction,
        "runs": found.n,
        "seeds": " ".join(str(run.record.seed) for run in row.runs),
        "mean": found.mean,
        "std": found.std,
        "low": low,
        "high": high,
        "letters": compared and compared.letters,
        "reference": board.reference,
        "difference": apart and apart.mean,
        "difference_low": apart_low,
        "difference_high": apart_high,
        "p_value": apart and apart.p_value,
        "p_holm": compared and compared.p_holm,
        **_csv_game(row.game),
        "fit_s": round(row.fit_seconds, 3),
        "test_s": round(row.test_seconds, 3),
        "process_mib": row.peak_memory.get("process_mib"),
        "gpu_mib": row.peak_memory.get("gpu_mib"),
        "parameters": record.num_parameters,
    }


def _csv_game(game: RowGame | None) -> dict[str, object]:
    played = game and game.alignment
    figures = played and played.figures
    return {
        "game": game and game.word,
        "gradient_share": figures and figures.share,
        "discriminator_accuracy": figures and figures.accuracy,
        "probe_accuracy": figures and figures.probe,
        "twin": played and played.twin,
        "twin_probe_accuracy": played and played.twin_probe,
        "game_items": figures and figures.items,
    }


def _marks(row: Row, direction: str) -> str:
    letters = row.comparisons[direction].letters if row.comparisons else ""
    return f"{letters} {row.mark(direction)}".strip()


def _published_cells(published: PublishedResult, columns: Sequence[str]) -> list[str]:
    claim = published.claim
    scores = published_scores(published, columns, "ours − published")
    return [f"published: {claim.source}", claim.method, claim.encoder, *scores, "", claim.standing, "", ""]


def published_scores(published: PublishedResult, columns: Sequence[str], ours: str) -> list[str]:
    """Format published numbers, each with its difference from ours; empty where nothing was published."""
    values, differences = published.claim.values, published.differences
    return [f"{number(values[d])} ({ours} {difference(differences[d])})" if d in values else "" for d in columns]


def markdown_table(header: Sequence[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay out cells, which are Markdown already, as a table."""
    first, *others = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return "\n".join([first, f"|{'---|' * len(header)}", *others])


def cell(text: str) -> str:
    """Escape text for a cell of a Markdown table: it neither ends the cell nor is read as HTML."""
    return " ".join(str(text).split()).translate(_ESCAPES)
