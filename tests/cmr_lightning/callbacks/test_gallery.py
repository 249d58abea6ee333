import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len

from cmr_lightning.callbacks.fonts import fonts_for
from cmr_lightning.callbacks.gallery import RetrievalGallery, Tile, draw_gallery, wrapped
from cmr_lightning.methods.chance import Random
from cmr_lightning.runs.run import Run
from datamodules.base import CrossModalData
from datamodules.shapes import Shapes
from datamodules.shapes_composed import ShapesComposed
from tests.building import trainer
from tests.cmr_lightning.callbacks.made_font import font_with
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


@pytest.mark.parametrize(
    "text", ["$a_^$", "\\frac{", "half a character \ud83d", "a null \x00 and a bell \x07", "\u202eabc"]
)
def test_odd_titles_labels_and_texts_are_drawn(text: str, tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    draw_gallery([[Tile(picture, text, GREY), Tile(None, text, GREEN)]], text, tmp_path / "gallery.png")
    with Image.open(tmp_path / "gallery.png") as drawn:
        assert drawn.width > 300


CHINESE = "今天北京的天气非常好，很多市民都到公园里散步和放风筝，孩子们在草地上跑来跑去，晚上还有焰火表演"


def pixels_of(texts: list[str], path: Path) -> np.ndarray:
    """A row of texts as it is drawn: grey, `(H, W)`."""
    draw_gallery([[Tile(None, text, GREEN) for text in texts]], "", path)
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L"))


def test_texts_of_other_scripts_are_drawn_in_a_font_that_has_them(tmp_path: Path) -> None:
    """Black squares stand for characters, and stay inside their tile."""
    with font_with(CHINESE, tmp_path / "f.ttf") as family, warnings.catch_warnings(action="error"):
        assert fonts_for([CHINESE, "a dog"]).families[-1] == family
        assert not fonts_for([CHINESE]).missing
        empty = pixels_of(["", ""], tmp_path / "gallery.png")
        drawn = pixels_of([CHINESE, ""], tmp_path / "gallery.png")
        assert drawn.shape == empty.shape
        changed = (np.abs(drawn.astype(int) - empty) > 60).nonzero()
        assert len(changed[1]) > 20 * len(set(CHINESE))
        frame = (empty[empty.shape[0] // 2] < 200).nonzero()[0]  # columns of the frames of both tiles
        left, right = (int(side) for side in (frame.min(), frame[frame < empty.shape[1] // 2].max()))
        assert left < changed[1].min() < changed[1].max() < right
    assert fonts_for([CHINESE]).missing == set(CHINESE)


def test_characters_that_no_font_has_are_told_and_drawn_as_one_box_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[[], str]
) -> None:
    monkeypatch.setattr("cmr_lightning.callbacks.fonts._others", list)
    with warnings.catch_warnings(action="error"):
        missing = draw_gallery(
            [[Tile(None, "今天 today", GREEN), Tile(None, "a\u200bb\n", RED)]], "", tmp_path / "g.png"
        )
    assert missing == {"今", "天"}
    data = Toy()
    monkeypatch.setattr(data, "classes", [f"类{name}" for name in data.classes])
    trainer(callbacks=[RetrievalGallery(Run(tmp_path))]).test(Random(data.spec), data, verbose=False)
    assert "Note: no font on this machine has 1 characters of the texts, such as '类', so gallery.png shows □" in said()
    assert (tmp_path / "gallery.png").is_file()


@pytest.mark.parametrize("width", [5, 22])
@pytest.mark.parametrize("text", [CHINESE, "one two  three\nfour " * 9, "Ein" * 30, "", "ひらがなと英語 mixed " * 5])
def test_lines_are_no_wider_than_their_tile(text: str, width: int) -> None:
    lines = wrapped(text, width, 4).split("\n")
    assert len(lines) <= 4
    assert all(cell_len(line.removesuffix(" …")) <= width for line in lines)
    assert (lines[-1].endswith(" …")) == (cell_len(" ".join(text.split())) > 4 * width)


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
