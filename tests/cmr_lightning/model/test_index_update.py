"""What an update embeds, keeps and drops."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr_lightning.errors import UserError
from cmr_lightning.files.file_lock import locked
from cmr_lightning.model import index_update
from cmr_lightning.model.index import Index
from cmr_lightning.model.index_files import read_manifest
from cmr_lightning.model.index_items import FolderItems, TableItems
from cmr_lightning.model.index_update import Changes, update_index
from tests.cmr_lightning.model.colours import Colours, paint


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_update, "_ROWS", 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Eight pictures of different colours."""
    for number in range(8):
        paint(tmp_path / "pictures" / f"{number}.png", (number * 30, 100, 50))
    return tmp_path / "pictures"


def update(folder: Path, model: Colours | None = None) -> Changes:
    return update_index(folder.parent / "index", FolderItems(folder), model or Colours())


def names(index: Path) -> list[str]:
    points = Index(index).points("images")
    return [item.id for _, item in sorted(points.items(range(len(points))).items())]


def files(index: Path) -> Iterator[str]:
    return (str(path.relative_to(index)) for path in sorted(index.rglob("*")) if path.is_file())


def test_points_items_and_thumbnails(folder: Path) -> None:
    assert update(folder).embedded == 8
    index = Index(folder.parent / "index")
    assert repr(index) == "Index(8 images, 3 numbers, cos)"
    points = index.points("images")
    expected = np.array([(number * 30, 100, 50) for number in range(8)], dtype=np.float32)
    np.testing.assert_allclose(points[:], expected / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-6)
    np.testing.assert_array_equal(points[np.array([1, 6])], points[:][[1, 6]])
    assert [shard.count for shard in index.manifest.galleries["images"].shards] == [3, 3, 2]
    assert names(index.folder) == [f"{number}.png" for number in range(8)]
    item = points.items([7])[7]
    small = index.thumbnail(item)
    assert small is not None
    assert Image.open(small).size == (16, 16)
    assert (item.path, item.size) == ("7.png", (folder / "7.png").stat().st_size)
    assert index.file(item) == (folder / "7.png").resolve()
    update_index(folder.parent / "l2", FolderItems(folder), Colours("l2"))
    np.testing.assert_allclose(Index(folder.parent / "l2").points("images")[:], expected)


def test_what_is_new_changed_renamed_or_gone(folder: Path) -> None:
    update(folder)
    before = list(files(folder.parent / "index"))
    assert (update(folder).kept, list(files(folder.parent / "index"))) == (8, before)
    (folder / "1.png").rename(folder / "renamed.png")
    os.utime(folder / "2.png", ns=(1, 1))
    paint(folder / "3.png", "blue")
    (folder / "4.png").unlink()
    paint(folder / "new.png", "green")
    model = Colours()
    changes = update(folder, model)
    assert (changes.embedded, changes.kept, changes.dropped, model.embedded) == (2, 6, 2, 2)
    index = folder.parent / "index"
    assert names(index) == ["0.png", "2.png", "3.png", "5.png", "6.png", "7.png", "new.png", "renamed.png"]
    fresh = folder.parent / "fresh"
    update_index(fresh, FolderItems(folder), Colours())
    assert list(files(fresh)) == list(files(index))
    np.testing.assert_array_equal(Index(fresh).points("images")[:], Index(index).points("images")[:])


def test_an_update_that_was_killed_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    model = Colours()
    write = index_update._write_shard
    monkeypatch.setattr(index_update, "_write_shard", lambda *a: stop() if model.embedded > 3 else write(*a))
    with pytest.raises(KeyboardInterrupt):
        update(folder, model)
    index = folder.parent / "index"
    assert not (index / "index.json").exists()
    (index / "images" / ".rows-0.npy.unfinished").touch()  # as a process leaves it that is killed as it writes
    monkeypatch.setattr(index_update, "_write_shard", write)
    changes = update(folder)
    assert (changes.embedded, changes.kept) == (5, 3)
    assert not list((index / "images").glob(".*"))


def test_damaged_pictures_are_left_out_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (folder / "4.png").read_bytes()
    (folder / "4.png").write_bytes(whole[: len(whole) // 2])
    (folder / "5.png").write_text("no picture")
    (folder / "6.png").unlink()
    (folder / "6.png").symlink_to("nowhere.png")
    changes = update(folder)
    assert {damaged.path for damaged in changes.damaged} == {"4.png", "5.png", "6.png"}
    assert names(folder.parent / "index") == ["0.png", "1.png", "2.png", "3.png", "7.png"]
    assert capsys.readouterr().err.count("Left out: ") == 3
    assert read_manifest(folder.parent / "index").damaged == tuple(changes.damaged)
    (folder / "4.png").write_bytes(whole)
    assert update(folder).embedded == 1
    for picture in folder.glob("*.png"):
        picture.unlink()
        picture.write_text("no picture")
    with pytest.raises(
        UserError, match=r"There is nothing to index, neither pictures nor texts .the first of 8: .*png"
    ):
        update(folder)


def test_texts_and_pictures_of_a_table(folder: Path) -> None:
    table = folder / "table.csv"
    table.write_text("image,text\n0.png,a red hat\n0.png,a blue hat\n1.png,a grey hat\n")
    index = folder.parent / "index"
    assert update_index(index, TableItems(table), Colours()).embedded == 5
    assert repr(Index(index)) == "Index(2 images, 3 texts, 3 numbers, cos)"
    table.write_text("image,text\n0.png,a blue hat\n0.png,a grey hat\n")
    changes = update_index(index, TableItems(table), Colours())
    assert (changes.embedded, changes.kept, changes.dropped) == (0, 3, 2)
    composed = Colours()
    composed.composed = True
    update_index(index, TableItems(table), composed)
    assert not list((index / "texts").glob("*"))


def test_refusals(folder: Path) -> None:
    update(folder)
    index = folder.parent / "index"
    other = Colours()
    other.checksum = "beef"
    with pytest.raises(
        UserError, match=r"the index of another model: Colours with weights c0ffee made it, .* has beef"
    ):
        update(folder, other)
    with locked(index / ".lock"), pytest.raises(UserError, match="Another process still works on"):
        update(folder)
    content = json.loads((index / "index.json").read_text())
    for change, message in (
        ({"format": 2}, "is of format 2, and this version reads 1"),
        ({"galleries": {"images": {"shards": [{"name": "../rows", "count": 1}]}}}, "index.json is damaged"),
    ):
        (index / "index.json").write_text(json.dumps({**content, **change}))
        with pytest.raises(UserError, match=message):
            update(folder)
