"""Reading tables of the user's own, CSV, JSON lines or Parquet, with the place of each row for messages."""

import csv
import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cmr_lightning.errors import UserError


class TableRow(NamedTuple):
    """One row: its place, `line 7` of a text file or `row 6` of a Parquet file, and its cells by column, if any."""

    place: str
    cells: dict[str, Any]


class Table(NamedTuple):
    """All columns of a file, in its order, and its rows with the cells of the columns that were asked for."""

    columns: tuple[str, ...]
    rows: list[TableRow]


def read_table(path: Path, wanted: Collection[str]) -> Table:
    """Read a table in the format that its ending names: `.csv`, `.jsonl` or `.parquet`.

    CSV has a header, commas, and double quotes around cells that need them; its cells are strings. Text is UTF-8, with
    or without a byte order mark. Only the cells of `wanted` columns are kept.

    Raises:
        UserError: If the ending is another one, the file is damaged or not UTF-8, or holds no rows.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".parquet": _read_parquet}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} should be a table in CSV, JSON lines or Parquet and end in {', '.join(readers)}.")
    table = readers[path.suffix.lower()](path, wanted)
    if not table.rows:
        raise UserError(f"{path} holds no rows; write a row for each pair of an image with a text.")
    return table


def _read_csv(path: Path, wanted: Collection[str]) -> Table:
    records = _records(path)
    _, header = next(records, (1, []))
    columns = tuple(name.strip() for name in header)
    if len(set(columns)) < len(columns):
        raise UserError(f"{path}, line 1: two columns have the same name; the header is {', '.join(columns)}.")
    rows = []
    for line, cells in records:
        if len(cells) != len(columns):
            raise UserError(
                f"{path}, line {line}: {len(cells)} cells where the header has {len(columns)} columns; a cell with a "
                f"comma needs double quotes around it."
            )
        kept = {name: cell for name, cell in zip(columns, cells, strict=True) if name in wanted}
        rows.append(TableRow(f"line {line}", kept))
    return Table(columns, rows)


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of the first line and the cells of each record of a CSV file; blank lines are skipped."""
    reader = csv.reader(io.StringIO(_read_text(path), newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            if cells:
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: this is not CSV ({error}); correct the line.") from error


def _read_json_lines(path: Path, wanted: Collection[str]) -> Table:
    columns: dict[str, None] = {}
    rows = []
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except ValueError as error:
            raise UserError(f"{path}, line {number}: this is not JSON ({error}); correct the line.") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}, line {number}: expected a JSON object and found {line.strip()[:60]!r}.")
        columns.update(dict.fromkeys(content))
        rows.append(TableRow(f"line {number}", {name: cell for name, cell in content.items() if name in wanted}))
    return Table(tuple(columns), rows)


def _read_parquet(path: Path, wanted: Collection[str]) -> Table:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise UserError(
            f"{path} is a Parquet file, which takes pyarrow to read: pip install 'cmr_lightning[parquet]', or write "
            f"the table as CSV or JSON lines."
        ) from error
    try:
        columns = tuple(parquet.read_schema(path).names)
        content = parquet.read_table(path, columns=[name for name in columns if name in wanted]).to_pylist()
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as a Parquet file ({error}), perhaps it was cut short.") from error
    return Table(columns, [TableRow(f"row {number}", cells) for number, cells in enumerate(content, 1)])


def _read_text(path: Path) -> str:
    content = path.read_bytes()
    try:
        return content.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: this is not UTF-8 text (byte {content[error.start]:#04x}); save the table as UTF-8."
        ) from error
