from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr_lightning.callbacks.gallery import RetrievalGallery, Tile, draw_gallery
from cmr_lightning.methods.chance import Random
from cmr_lightning.runs.run import Run
from datamodules.base import CrossModalData
from datamodules.shapes import Shapes
from datamodules.shapes_composed import ShapesComposed
from tests.building import trainer
from tests.toy import Toy

Rows = Callable[..., list[list[Tile]]]
GREEN, RED, GREY, BLUE = "#2e8b57", "#c0504d", "#4a4a4a", "#3a6ea5"


def test_picture_has_a_sane_size_and_shows_tiles_and_colours(tmp_path: Path) -> None:
    blue = np.full((20, 30, 3), (0, 0, 250), dtype=np.uint8)
    rows = [
        [Tile(blue, "a class", GREY), Tile(None, "a long text, $ included, " * 30, GREEN), Tile(None, "", RED)],
        [Tile(None, "a text", GREY), Tile(blue, "another", RED)],
    ]
    draw_gallery(rows, "Nobody on Nothing", tmp_path / "gallery.png")
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.format == "PNG"
        assert 300 < picture.width < 3000
        assert 200 < picture.height < 3000
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    for colour in ((0, 0, 250), (0x2E, 0x8B, 0x57), (0xC0, 0x50, 0x4D), (0x4A, 0x4A, 0x4A)):
        assert (np.abs(pixels - colour).max(axis=2) < 8).sum() > 100, f"nothing is drawn in {colour}"


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    """Returns the rows that a gallery would draw of a random method on some data."""
    rows: list[list[Tile]] = []
    monkeypatch.setattr("cmr_lightning.callbacks.gallery.draw_gallery", lambda found, title, path: rows.extend(found))

    def test(data: CrossModalData, **settings: int) -> list[list[Tile]]:
        gallery = RetrievalGallery(Run(tmp_path), **settings)
        trainer(callbacks=[gallery]).test(Random(data.spec), data, verbose=False)
        return rows

    return test


@pytest.mark.parametrize("level", ["label", "instance"])
def test_rows_are_queries_with_their_results_right_ones_green(level: str, rows: Rows) -> None:
    drawn = rows(Toy(level=level, captions=2), queries=3, results=24)
    assert [len(row) for row in drawn] == [25] * 6
    assert all(row[0].colour == GREY for row in drawn)
    greens = [sum(tile.colour == GREEN for tile in row) for row in drawn]
    relevant = {"label": (12, 6), "instance": (2, 1)}[level]
    assert all(0 <= green <= relevant[0] for green in greens[:3])
    assert greens[3:] == [relevant[1]] * 3  # all 24 images are among the results
    for row in drawn[3:] if level == "label" else []:
        for tile in row[1:]:
            asked = int(row[0].text.removeprefix("text ")) // 2 % 4  # the class of the image the text belongs to
            assert (tile.colour == GREEN) == tile.text.startswith(f"class {asked} ")


def test_pictures_are_shown_where_the_data_set_has_them(rows: Rows) -> None:
    drawn = rows(Shapes(num_train=20, num_val=20, num_test=20, picture_size=16))
    assert [len(row) for row in drawn] == [7] * 8
    for row in drawn[:4]:
        assert row[0].picture is not None
        assert all(tile.picture is None and tile.text for tile in row[1:])
    assert all(tile.picture is not None for row in drawn[4:] for tile in row[1:])


def test_gallery_smaller_than_the_results_asked_for(rows: Rows) -> None:
    assert [len(row) for row in rows(Toy(), results=99)] == [25] * 8


def test_row_of_a_composed_query_is_source_text_results_and_target(rows: Rows) -> None:
    data = ShapesComposed(num_train=2, num_val=1, num_test=6, modifications=4)
    drawn = rows(data, queries=3, results=29)
    assert [len(row) for row in drawn] == [2 + 29 + 1] * 3
    for source, text, *results, target in drawn:
        assert (source.colour, text.colour, target.colour) == (GREY, GREY, BLUE)
        assert source.picture is not None
        assert text.text in data.part("test").captions
        assert [tile.heading for tile in results] == [str(place) for place in range(1, 30)]
        green = [tile for tile in results if tile.colour == GREEN]
        assert any((tile.picture == target.picture).all() for tile in green)
        assert not any((tile.picture == source.picture).all() for tile in results)
