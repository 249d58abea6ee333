import json
import os
from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.model.index_items import FolderItems, PartItems, TableItems, items_of
from datamodules import Shapes
from datamodules.inputs import Pictures
from tests.cmr_lightning.model.colours import paint
from tests.datamodules.album import Album, write_album
from tests.toy import Toy, ToyComposed


def test_a_folder_s_pictures_without_what_is_hidden(tmp_path: Path) -> None:
    for name in ("b.png", "A.JPG", "deep/er/c.webp", ".hidden.png", ".git/d.png", "node_modules/e.png", "index/f.png"):
        paint(tmp_path / name, "red")
    (tmp_path / "notes.txt").touch()
    items = FolderItems(tmp_path, without=tmp_path / "index")
    assert [candidate.id for candidate in items.pictures()] == ["A.JPG", "b.png", "deep/er/c.webp"]
    assert items.root == str(tmp_path.resolve())
    assert list(items.texts()) == []
    with pytest.raises(UserError, match=r"There are no pictures in the folder .*index/none"):
        (tmp_path / "index" / "none").mkdir()
        FolderItems(tmp_path / "index" / "none")
    with pytest.raises(UserError, match="There is neither a folder nor a table nowhere"):
        items_of(Path("nowhere"), tmp_path)


def test_a_table_s_pictures_once_and_all_of_its_texts(tmp_path: Path) -> None:
    table = tmp_path / "table.jsonl"
    rows: list[dict[str, object]] = [
        {"image": "a\\1.png", "text": "one"},
        {"image": "2.png", "text": ""},
        {"image": "a/1.png", "text": "two "},
        {"text": "alone"},
    ]
    table.write_text("\n".join(map(json.dumps, rows)))
    items = items_of(table, tmp_path / "index")
    pictures = list(items.pictures())
    assert [(one.id, one.content, one.caption) for one in pictures] == [
        ("a/1.png", tmp_path / "a/1.png", "one\ntwo"),
        ("2.png", tmp_path / "2.png", ""),
    ]
    assert [(one.id, one.content) for one in items.texts()] == [
        ("a/1.png#0", "one"),
        ("a/1.png#1", "two"),
        ("#0", "alone"),
    ]
    assert TableItems(table, tmp_path.parent).root == str(tmp_path.parent)
    for content, message in (
        ({"picture": "a.png"}, "neither a column image nor a column text, only picture"),
        ({"image": 3}, "line 1: the column image should hold text and holds 3"),
    ):
        table.write_text(json.dumps(content))
        with pytest.raises(UserError, match=message):
            TableItems(table)


def test_a_part_as_its_encoders_see_it(tmp_path: Path) -> None:
    drawn = Shapes(num_train=20, num_val=20, num_test=20, picture_size=16)
    pictures = list(PartItems(drawn, "test").pictures())
    assert pictures[3].id == "shapes-0-test-00003"
    assert np.array_equal(pictures[3].content, drawn.picture("test", 3))  # type: ignore[arg-type]
    assert pictures[3].caption.splitlines() == list(drawn.part("test").captions[15:20])
    assert [text.content for text in PartItems(drawn, "test").texts()] == list(drawn.part("test").captions)

    listed = PartItems(Album(str(write_album(tmp_path)), Pictures(crop=32, resize=36)), "test")
    first = next(listed.pictures())
    assert (first.path, first.content) == ("pictures/140.jpg", tmp_path / "pictures" / "140.jpg")
    assert listed.root == os.path.realpath(tmp_path)

    stored = Toy()
    for row, candidate in enumerate(PartItems(stored, "test").pictures()):
        assert np.array_equal(candidate.content, stored.part("test").image[row])  # type: ignore[arg-type]
        assert candidate.shown is None
    composed = PartItems(ToyComposed(), "test")
    assert list(composed.texts()) == []
    assert {picture.caption for picture in composed.pictures()} == {""}
