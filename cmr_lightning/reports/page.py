"""The report's page: everything in one HTML file that needs nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.examples import Examples
from cmr_lightning.reports import board_tables as tables
from cmr_lightning.reports.board import Board, MeasuredRun, Notes, Row
from cmr_lightning.reports.charts import FIELD, Drawing, draw, style
from cmr_lightning.reports.claims import STANDINGS
from cmr_lightning.reports.curves import Chart, ranking_charts, training_charts
from cmr_lightning.reports.galleries import Entry, InlinedPictures, differing, gallery
from cmr_lightning.reports.maps import SIZE, Dots, pca_map, tsne_map
from cmr_lightning.reports.per_class import ClassScores, class_scores

_TSNE_MAPS = 12
"""A map takes about a second, so only the first experiments of a report have one."""

_CLASSES_IN_LEGEND = 40


@dataclass(frozen=True)
class Map:
    """The common space of one run; `tsne` is empty where it was not computed."""

    experiment: str
    seed: int
    pca: list[Dots]
    tsne: list[Dots]


@dataclass(frozen=True)
class Section:
    """Everything about one board.

    Attributes:
        board: The leaderboard.
        styles: Style of each experiment's lines.
        charts: Drawings by what they are about.
        maps: Maps of the common space.
        classes: Names of the classes on the maps.
        class_scores: Scores by class.
        galleries: Queries with results, by experiment and direction.
        differing: Queries on which `rivals` differ most, by direction.
        rivals: The two experiments that are set against each other.
    """

    board: Board
    styles: dict[str, str]
    charts: dict[str, list[Drawing]]
    maps: list[Map]
    classes: tuple[str, ...]
    class_scores: ClassScores | None
    galleries: dict[str, dict[str, list[Entry]]]
    differing: dict[str, list[Entry]]
    rivals: tuple[str, str] | None


def page(boards: Sequence[Board], notes: Notes) -> str:
    """The report as HTML.

    Args:
        boards: Its leaderboards.
        notes: What was found missing, to which this adds.
    """
    pictures = InlinedPictures()
    sections = list(_sections(boards, pictures, notes))
    if pictures.left_out:
        notes.add(f"{pictures.left_out} pictures of galleries are left out, to keep this file small.")
    environment = Environment(
        loader=PackageLoader("cmr_lightning.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": tables.number,
        "difference": tables.difference,
        "duration": tables.duration,
        "memory": tables.memory,
        "spread": tables.spread,
        "interval": tables.interval,
    }
    return environment.get_template("report.html").render(
        sections=sections,
        notes=notes.sentences,
        pictures=pictures.inlined,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        legend=tables.LEGEND,
        title_of=tables.title,
        standings=STANDINGS,
        chart=FIELD,
        map_size=SIZE,
        legend_classes=_CLASSES_IN_LEGEND,
        hue=lambda index, number: round(360 * index / max(number, 1)),
        command=repeating_command,
        config=config_text,
    )


def repeating_command(run: MeasuredRun) -> str:
    """The commands that make a run again, beside the old one."""
    again = run.run.path.with_name(f"{run.run.path.name}-again")
    fit = ["python", "-m", "cmr_lightning", "fit", "--config", str(run.run.config), f"--run_dir={again}"]
    test = ["python", "-m", "cmr_lightning", "test", "--config", str(again / run.run.config.name)]
    return f"{shlex.join(fit)} && {shlex.join(test)}"


def config_text(run: MeasuredRun) -> str:
    """The resolved configuration of a run as YAML."""
    return yaml.safe_dump(run.record.config, sort_keys=False, allow_unicode=True)


def _sections(boards: Sequence[Board], pictures: InlinedPictures, notes: Notes) -> Iterator[Section]:
    tsne_maps_left = _TSNE_MAPS
    for board in boards:
        examples = dict(_examples(board, notes))
        styles = {row.experiment: style(position) for position, row in enumerate(board.rows)}
        drawn = {what: _drawn(charts, styles) for what, charts in training_charts(board, notes).items()}
        drawn["ranking"] = _drawn(ranking_charts(board), styles)
        shown = {row.experiment: run for row in board.rows if (run := _first_with(row, examples)) is not None}
        maps = []
        for experiment, run in shown.items():
            left = examples[run.run.path]
            tsne = tsne_map(left) if tsne_maps_left > 0 else []
            tsne_maps_left -= 1
            maps.append(Map(experiment, run.record.seed, pca_map(left), tsne))
        higher = board.protocol.higher_is_better
        rivals = _rivals(board, shown)
        yield Section(
            board=board,
            styles=styles,
            charts=drawn,
            maps=maps,
            classes=next((examples[run.run.path].classes for run in shown.values()), ()),
            class_scores=class_scores(board, examples, notes),
            galleries={
                experiment: gallery(experiment, examples[run.run.path], higher, pictures)
                for experiment, run in shown.items()
            },
            differing=_differing(rivals, shown, examples, higher, pictures),
            rivals=rivals,
        )
    if tsne_maps_left < 0:
        notes.add(
            f"Only the first {_TSNE_MAPS} maps of the common space are drawn by t-SNE too, as each takes a second."
        )


def _examples(board: Board, notes: Notes) -> Iterator[tuple[Path, Examples]]:
    for row in board.rows:
        for run in row.runs:
            try:
                yield run.run.path, Examples.read(run.run.examples)
            except UserError as error:
                notes.add(f"{run.run.path} has no map, gallery and scores by class: {error}")


def _first_with(row: Row, examples: Mapping[Path, Examples]) -> MeasuredRun | None:
    return next((run for run in row.runs if run.run.path in examples), None)


def _drawn(charts: Sequence[Chart], styles: dict[str, str]) -> list[Drawing]:
    return [draw(chart, styles) for chart in charts if chart.curves]


def _rivals(board: Board, shown: Mapping[str, MeasuredRun]) -> tuple[str, str] | None:
    """The best experiment and the reference, or the second best where the best is the reference or there is none.

    Both are shown on the split of the best one.
    """
    splits = [run.record.split["checksum"] for run in shown.values()]
    names = [name for name, split in zip(shown, splits, strict=True) if split == splits[0]]
    if len(names) < 2:
        return None
    other = board.reference if board.reference in names[1:] else names[1]
    return names[0], str(other)


def _differing(
    rivals: tuple[str, str] | None,
    shown: Mapping[str, MeasuredRun],
    examples: Mapping[Path, Examples],
    higher_is_better: bool,
    pictures: InlinedPictures,
) -> dict[str, list[Entry]]:
    if rivals is None:
        return {}
    one, other = ((name, examples[shown[name].run.path]) for name in rivals)
    return differing(one, other, higher_is_better, pictures)
