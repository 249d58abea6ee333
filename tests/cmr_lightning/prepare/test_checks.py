from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from cmr_lightning.prepare.checks import (
    ArrayFile,
    Check,
    Counts,
    File,
    Folder,
    JsonFile,
    JsonList,
    LinesFile,
    ListedFiles,
)

GROUPS = {"train": Counts(2, 3), "test": Counts(1, 1)}


def said(check: Check, root: Path) -> tuple[str, str]:
    (finding,) = check.check(root)
    return finding.state, finding.sentence


def entries() -> list[dict[str, Any]]:
    return [
        {"split": "train", "file": "x/a.jpg", "texts": ["one", "two"], "id": 1},
        {"split": "train", "file": "x/b.jpg", "texts": ["three"], "id": 1},
        {"split": "test", "file": "y/c.jpg", "texts": ["four"], "id": 2},
    ]


def images_of(**options: Any) -> JsonFile:
    return JsonFile("a.json", GROUPS, group_by="split", texts_in="texts", **options)


@pytest.mark.parametrize(
    "check",
    [File("a"), LinesFile("a", 1), ArrayFile("a", {}), images_of(), JsonList("a", 1), Folder("a", 1, "*")],
    ids=lambda check: type(check).__name__,
)
def test_what_is_not_there_is_missing(tmp_path: Path, check: Check) -> None:
    assert said(check, tmp_path) == ("missing", "missing")
    assert check.check(tmp_path)[0].fault


def test_what_only_some_need_is_no_fault_when_it_is_missing_but_when_it_is_wrong(tmp_path: Path) -> None:
    check = LinesFile("a", 2, only_for="text: tfidf")
    assert not check.check(tmp_path)[0].fault
    (tmp_path / "a").write_text("one\n")
    assert check.check(tmp_path)[0].fault


def test_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    assert said(File("a"), tmp_path) == ("ok", "3 bytes")
    sha256 = hashlib.sha256(b"abc").hexdigest()
    assert said(File("a", sha256=sha256), tmp_path) == ("ok", "3 bytes")
    assert said(File("a", sha256="0" * 64), tmp_path) == ("wrong", f"has the SHA-256 {sha256}, expected {'0' * 64}")
    (tmp_path / "a").write_text("")
    assert said(File("a"), tmp_path) == ("wrong", "is empty")
    (tmp_path / "b").mkdir()
    assert said(File("b"), tmp_path) == ("wrong", "is a folder, expected a file")


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"actor\\1.jpg\r\n\r\n  \r\nactor\\2.jpg\r\nThumbs.db")
    assert said(LinesFile("a", 3), tmp_path) == ("ok", "3 lines")
    assert said(LinesFile("a", 2, suffix=".jpg"), tmp_path) == ("ok", "2 lines")
    assert said(LinesFile("a", 269_648), tmp_path) == ("wrong", "has 3 lines, expected 269,648")


def test_arrays(tmp_path: Path) -> None:
    savemat(tmp_path / "a.mat", {"I_tr": np.zeros((4, 3)), "T_tr": np.zeros((4, 2))})
    assert said(ArrayFile("a.mat", {"I_tr": (4, 3)}), tmp_path) == ("ok", "4 rows of I_tr")
    assert said(ArrayFile("a.mat", {"I_tr": (4, 9)}), tmp_path) == ("wrong", "array I_tr is 4 x 3, expected 4 x 9")
    assert said(ArrayFile("a.mat", {"image": (1,)}), tmp_path) == ("wrong", "has no array image, only I_tr, T_tr")
    (tmp_path / "a.mat").write_bytes(b"<html>")
    state, sentence = said(ArrayFile("a.mat", {"I_tr": (4, 3)}), tmp_path)
    assert state == "wrong"
    assert sentence.startswith("cannot be read as a MATLAB file")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("key", ["", "images"])
def test_json_counts_by_group(tmp_path: Path, packed: bool, key: str) -> None:
    content = json.dumps({key: entries()} if key else entries()).encode()
    path = tmp_path / ("a.json.gz" if packed else "a.json")
    path.write_bytes(gzip.compress(content) if packed else content)
    (finding,) = images_of(key=key).check(tmp_path)
    assert (finding.path, finding.state) == (path.name, "ok")
    assert finding.counts == {
        "images": 3,
        "images of train": 2,
        "texts of train": 3,
        "images of test": 1,
        "texts of test": 1,
    }


def test_json_says_which_group_is_not_as_published(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([*entries()[:1], {**entries()[2], "split": "dev"}]))
    assert said(images_of(), tmp_path) == (
        "wrong",
        "lists 2 images: images of train are 1, expected 2; texts of train are 2, expected 3; images of test are 0, "
        "expected 1; texts of test are 0, expected 1; images of dev are 1, expected 0",
    )


def test_json_counts_people(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(entries()))
    groups = {"train": Counts(2, 3, people=1), "test": Counts(1, 1, people=2)}
    check = JsonFile("a.json", groups, group_by="split", texts_in="texts", people_in="id")
    assert said(check, tmp_path) == ("wrong", "lists 3 images: people of test are 1, expected 2")


def test_json_may_map_names_to_entries(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"a.jpg": entries()[0], "b.jpg": entries()[1], "c.jpg": entries()[2]}))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_text("a")
    counted, looked_for = images_of(images="images/{name}", folder="images").check(tmp_path)
    assert counted.state == "ok"
    assert looked_for.missing == ["images/b.jpg", "images/c.jpg"]


def test_images_are_looked_for_though_the_counts_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(entries()[:2]))
    for name in ("x/a.jpg", "x/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("a")
    counted, looked_for = images_of(images="{file}").check(tmp_path)
    assert counted.state == "wrong"
    assert (looked_for.path, looked_for.state) == ("pictures", "ok")
    assert looked_for.sentence == "all 2 files that are listed"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"images": [', "cannot be read as JSON"),
        (b"\xff\xfe\xfa", "cannot be read as JSON"),
        (b"3", "does not hold a list of images"),
        (b"[3]", "does not hold a list of images"),
        (b'[{"split": "train"}]', "is not in the published form (KeyError: 'texts')"),
    ],
)
def test_damaged_json_is_wrong(tmp_path: Path, content: bytes, sentence: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    state, found = said(images_of(), tmp_path)
    assert state == "wrong"
    assert found.startswith(sentence)


def test_truncated_gzip_is_wrong(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(entries()).encode())
    (tmp_path / "a.json.gz").write_bytes(packed[: len(packed) // 2])
    assert said(images_of(), tmp_path)[0] == "wrong"


def test_entries_without_the_keys_of_an_image_are_wrong(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(entries()))
    assert said(images_of(images="{filepath}"), tmp_path) == ("wrong", "has entries without 'filepath'")


def test_folder(tmp_path: Path) -> None:
    for name, content in (("l/1.txt", "0\n1\n"), ("l/2.txt", "1\n1\n"), ("l/3.txt", ""), ("l/a.jpg", "a")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert said(Folder("l", 2, "*.txt"), tmp_path) == ("ok", "2 files")
    assert said(Folder("l", 2, "*.txt", lines=2), tmp_path) == ("ok", "2 files *.txt, 2 lines in each")
    sentence = "holds 2 files *.txt that are not empty, expected 81"
    assert said(Folder("l", 81, "*.txt"), tmp_path) == ("wrong", sentence)
    assert said(Folder("l", 2, "*.txt", lines=3), tmp_path) == ("wrong", "1.txt has 2 lines, expected 3")


def test_a_folder_of_unknown_size_holds_something(tmp_path: Path) -> None:
    (tmp_path / "l").mkdir()
    sentence = "holds 0 files *.txt that are not empty, expected some"
    assert said(Folder("l", None, "*.txt"), tmp_path) == ("wrong", sentence)
    (tmp_path / "l" / "1.txt").write_text("a")
    assert said(Folder("l", None, "*.txt"), tmp_path) == ("ok", "1 files")


def test_json_list(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["x", "y"]')
    assert said(JsonList("a.json", 2), tmp_path) == ("ok", "2 entries")
    assert said(JsonList("a.json", 3), tmp_path) == ("wrong", "lists 2 entries, expected 3")
    (tmp_path / "b.json").write_text('{"x": "y"}')
    assert said(JsonList("b.json", 1), tmp_path) == ("wrong", "does not hold a list")
    (tmp_path / "c.json").write_text('["x"')
    assert said(JsonList("c.json", 1), tmp_path)[0] == "wrong"


def test_images_of_a_json_list_may_have_either_ending(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('["x", "y", "z"]')
    (tmp_path / "i").mkdir()
    (tmp_path / "i" / "x.png").write_text("a")
    (tmp_path / "i" / "y.jpg").write_text("a")
    check = JsonList("a.json", 3, images=("i/{}.jpg", "i/{}.png"), folder="i")
    found = check.check(tmp_path)
    assert [finding.state for finding in found] == ["ok", "missing"]
    assert found[1].missing == ["i/z.jpg"]
    assert [finding.path for finding in JsonList("a.json", 4, images=("i/{}.jpg",)).check(tmp_path)] == ["a.json"]


def test_listed_files_are_named_where_they_are_missing_or_empty(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"actor\\1.jpg\r\nactor\\2.jpg\r\n\r\nbus\\3.jpg\r\nThumbs.db\r\n")
    (tmp_path / "Flickr" / "actor").mkdir(parents=True)
    (tmp_path / "Flickr" / "actor" / "1.jpg").write_text("a")
    (tmp_path / "Flickr" / "actor" / "2.jpg").write_text("")
    (finding,) = ListedFiles("Flickr", ("list",), "Flickr/{0}", suffix=".jpg").check(tmp_path)
    assert (finding.state, finding.path) == ("missing", "Flickr/")
    assert finding.sentence == "2 of the 3 files that are listed are missing or empty"
    assert finding.missing == ["Flickr/actor/2.jpg", "Flickr/bus/3.jpg"]
    assert finding.counts == {"files": 1}


@pytest.mark.parametrize("folder", ["images", "images/art", "images/art/deep"])
def test_listed_files_may_lie_in_any_folder_if_that_is_said(tmp_path: Path, folder: str) -> None:
    (tmp_path / "list").write_text("text-1\tpicture\t3\n")
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "picture.jpg").write_text("a")
    anywhere = ListedFiles("images", ("list",), "images/{1}.jpg", by_name=True)
    assert said(anywhere, tmp_path) == ("ok", "all 1 files that are listed")
    here = ListedFiles("images", ("list",), "images/{1}.jpg")
    assert said(here, tmp_path)[0] == ("ok" if folder == "images" else "missing")


def test_listed_files_cannot_be_looked_for_without_a_list_that_can_be_read(tmp_path: Path) -> None:
    check = ListedFiles("images", ("list",), "images/{1}.jpg")
    assert said(check, tmp_path) == ("missing", "cannot be checked without list")
    (tmp_path / "list").write_text("one column\n")
    assert said(check, tmp_path)[0] == "wrong"
    (tmp_path / "list").write_bytes(b"a\t\xff\n")
    assert said(check, tmp_path)[0] == "wrong"
