"""`report`: the records of several runs as one table per data set and protocol."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev

from rich.console import Console
from rich.table import Table

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Record
from cmr_lightning.runs import Run

Comparable = tuple[str, str, str, str, str]
"""Data set, split, its checksum, protocol, features: numbers are put side by side where all of these agree."""


def main(arguments: Sequence[str]) -> None:
    """Print a table of the runs that the command line names.

    Args:
        arguments: The command, and its options.

    Raises:
        UserError: If a folder holds no record.
    """
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning report", description="Put the records of runs side by side."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a run, or one that holds runs")
    records = [Record.read(path) for folder in parser.parse_args(arguments[1:]).runs for path in find_records(folder)]
    for key, group in grouped(records).items():
        Console().print(table(key, group))


def find_records(folder: Path) -> list[Path]:
    """Every record at or below a folder.

    Raises:
        UserError: If there is none.
    """
    paths = sorted(folder.rglob(Run(folder).record.name))
    if not paths:
        raise UserError(f"{folder} holds no {Run(folder).record.name}; run `test` on its runs first.")
    return paths


def grouped(records: Sequence[Record]) -> dict[Comparable, list[Record]]:
    """Records by what must agree for their numbers to be compared."""
    groups: dict[Comparable, list[Record]] = defaultdict(list)
    for r in records:
        groups[r.dataset, r.split["name"], r.split["checksum"], r.protocol, str(r.encoders["features"])].append(r)
    return dict(groups)


def table(key: Comparable, records: Sequence[Record]) -> Table:
    """One row per experiment, best first: the main protocol over its seeds."""
    dataset, split, checksum, protocol, features = key
    result = Table(title=f"{dataset}, {split} ({checksum}), {features}\n{protocol}, test part", title_justify="left")
    result.add_column("experiment")
    result.add_column("encoders")
    for heading in ("i2t", "t2i", "mean", "seeds", "fit"):
        result.add_column(heading, justify="right")
    runs: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        runs[record.experiment].append(record)
    ranked = sorted(runs.items(), key=lambda item: mean(_scores(item[1], "mean")), reverse=True)
    for experiment, seeds in ranked:
        first = seeds[0]
        names = (
            first.encoders["image"]
            if first.encoders["image"] == first.encoders["text"]
            else "{image} + {text}".format(**first.encoders)
        )
        scores = [spread(_scores(seeds, direction)) for direction in ("i2t", "t2i", "mean")]
        duration = mean(record.wall_time["fit_s"] for record in seeds)
        result.add_row(experiment, names, *scores, ", ".join(str(r.seed) for r in seeds), f"{duration:.0f} s")
    return result


def spread(values: Sequence[float]) -> str:
    """Mean, and with several values their standard deviation."""
    if len(values) == 1:
        return f"{values[0]:.4g}"
    return f"{mean(values):.4g} ± {stdev(values):.2g}"


def _scores(records: Sequence[Record], direction: str) -> list[float]:
    return [record.metrics[record.protocol][direction] for record in records]
