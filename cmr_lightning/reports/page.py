"""The report's page: one HTML file that needs no other."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.examples import Examples
from cmr_lightning.reports import board_tables as tables
from cmr_lightning.reports.board import Board, MeasuredRun
from cmr_lightning.reports.charts import PLOT, draw, style
from cmr_lightning.reports.claims import STANDINGS
from cmr_lightning.reports.curves import ranking_charts, training_charts
from cmr_lightning.reports.effects import EFFECTS_LEGEND, draw_effects
from cmr_lightning.reports.galleries import InlinedPictures, differing, gallery
from cmr_lightning.reports.game_table import GAME_HEADER, GAME_NOTE, game_lines
from cmr_lightning.reports.maps import SIZE, pca_map, tsne_map
from cmr_lightning.reports.per_class import class_scores
from cmr_lightning.reports.power import power_drawing
from cmr_lightning.reports.row_game import GAME_LEGEND

_TSNE_MAPS = 12
"""A map takes about a second, so only the first experiments of a report have one."""

_CLASSES_IN_LEGEND = 40


def page(boards: Sequence[Board], notes: list[str]) -> str:
    """Render the report as HTML, and add sentences about missing parts to `notes`."""
    pictures = InlinedPictures()
    sections = list(_sections(boards, pictures, notes))
    if pictures.left_out:
        notes.append(f"{pictures.left_out} pictures of galleries are left out, to keep this file small.")
    environment = Environment(
        loader=PackageLoader("cmr_lightning.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    formats = (tables.number, tables.difference, tables.duration, tables.memory, tables.spread, tables.interval)
    environment.filters |= {function.__name__: function for function in formats}
    return environment.get_template("report.html").render(
        sections=sections,
        effects_legend=EFFECTS_LEGEND,
        effects=[(title, Markup(svg[svg.index("<svg") :])) for title, svg in draw_effects(boards)],
        notes=list(dict.fromkeys(notes)),
        pictures=pictures.inlined,
        created=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        legends=(tables.LEGEND, GAME_LEGEND),
        game_header=GAME_HEADER,
        game_note=GAME_NOTE,
        game_lines=game_lines,
        standings=STANDINGS,
        chart=PLOT,
        map_size=SIZE,
        legend_classes=_CLASSES_IN_LEGEND,
        hue=lambda index, number: round(360 * index / max(number, 1)),
        command=repeating_command,
        config=lambda run: yaml.safe_dump(run.record.config, sort_keys=False, allow_unicode=True),
    )


def repeating_command(run: MeasuredRun) -> str:
    """Return the commands that repeat a run, in a folder beside the old one."""
    again = run.folder.path.with_name(f"{run.folder.path.name}-again")
    fit = ["python", "-m", "cmr_lightning", "fit", "--config", str(run.folder.config), f"--run_dir={again}"]
    test = ["python", "-m", "cmr_lightning", "test", "--config", str(again / run.folder.config.name)]
    return f"{shlex.join(fit)} && {shlex.join(test)}"


def _sections(boards: Sequence[Board], pictures: InlinedPictures, notes: list[str]) -> Iterator[dict[str, object]]:
    """Yield everything about each board under the names that the template uses."""
    tsne_maps_left = _TSNE_MAPS
    for board in boards:
        examples = dict(_examples(board, notes))
        styles = {row.experiment: style(position) for position, row in enumerate(board.rows)}
        charts = {**training_charts(board, notes), "ranking": ranking_charts(board)}
        # Of each experiment the first run with examples: of equal keys, a dictionary keeps the last value.
        shown = {row.experiment: run for row in board.rows for run in row.runs[::-1] if run.folder.path in examples}
        runs = {name: (name, examples[run.folder.path]) for name, run in shown.items()}
        maps = []
        for name, of_run in runs.values():
            tsne = tsne_map(of_run) if tsne_maps_left > 0 else []
            maps.append({"experiment": name, "seed": shown[name].record.seed, "pca": pca_map(of_run), "tsne": tsne})
            tsne_maps_left -= 1
        higher = board.protocol.higher_is_better
        rivals = _rivals(board, shown)
        yield {
            "board": board,
            "styles": styles,
            "power": power_drawing(board),
            "power_in_words": " ".join(tables.power_in_words(board)),
            "charts": {name: [draw(c, styles) for c in found if c.curves] for name, found in charts.items()},
            "maps": maps,
            "classes": next((of_run.classes for _, of_run in runs.values()), ()),
            "class_scores": class_scores(board, examples, notes),
            "galleries": {name: gallery(run, higher, pictures) for name, run in runs.items()},
            "differing": differing(runs[rivals[0]], runs[rivals[1]], higher, pictures) if rivals else {},
            "rivals": rivals,
        }
    if tsne_maps_left < 0:
        notes.append(
            f"Only the first {_TSNE_MAPS} maps of the common space are drawn by t-SNE too, as each takes a second."
        )


def _examples(board: Board, notes: list[str]) -> Iterator[tuple[Path, Examples]]:
    for run in (run for row in board.rows for run in row.runs):
        try:
            yield run.folder.path, Examples.read(run.folder.examples)
        except UserError as error:
            notes.append(f"{run.folder.path} has no map, gallery and scores by class: {error}")


def _rivals(board: Board, shown: Mapping[str, MeasuredRun]) -> tuple[str, str] | None:
    """Choose the best experiment and the reference, or the second best if that is the best or there is none.

    Both are shown on the split of the best one.
    """
    splits = [run.record.split["checksum"] for run in shown.values()]
    names = [name for name, split in zip(shown, splits, strict=True) if split == splits[0]]
    if len(names) < 2:
        return None
    return names[0], board.reference if board.reference in names[1:] else names[1]
