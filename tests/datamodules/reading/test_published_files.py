import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

from cmr_lightning.errors import UserError
from datamodules.reading.published_files import feature_rows, find, on_disk, read_json, read_lines, read_mat, read_npz

SOURCE = "get it there"
NUMBERS = np.random.default_rng(0).random((40, 3))


def refused(message: str, read: Callable[..., Any], *args: Any) -> None:
    with pytest.raises(UserError, match=f"{message}.*; {SOURCE}\\.$"):
        read(*args, SOURCE)


@pytest.mark.parametrize("on_the_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("in_the_table", ["NFC", "NFD"])
def test_names_are_found_in_either_normal_form(tmp_path: Path, on_the_disk: str, in_the_table: str) -> None:
    name = "é/한국/müller 1.jpg"
    there = tmp_path / unicodedata.normalize(on_the_disk, name)
    there.parent.mkdir(parents=True)
    there.touch()
    wanted = unicodedata.normalize(in_the_table, name)
    assert on_disk(tmp_path, wanted) == there
    assert find(tmp_path, wanted, SOURCE) == there
    assert on_disk(tmp_path, f"{wanted}x").name == f"{wanted}x".rpartition("/")[2]


def test_find_returns_a_file_and_names_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "here.txt").touch()
    assert find(tmp_path, "here.txt", SOURCE) == tmp_path / "here.txt"
    assert find(tmp_path / "nowhere", str(tmp_path / "here.txt"), SOURCE) == tmp_path / "here.txt"
    refused(r"gone\.txt is missing", find, tmp_path, "gone.txt")
    refused("nowhere, given as data.root, does not exist, so a is missing", find, tmp_path / "nowhere", "a")


def test_read_lines_counts(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_text("one\ntwo\n")
    assert read_lines(path, 2, SOURCE) == ["one", "two"]
    refused("list should have 3 lines and has 2", read_lines, path, 3)


def test_read_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')
    assert read_json(path, dict, SOURCE) == {"a": 1}
    refused("should hold a list and holds a dict", read_json, path, list)
    path.write_text("[1]")
    assert read_json(path, list, SOURCE) == [1]
    refused("should hold a JSON object and holds a list", read_json, path, dict)
    for spoiled in (b'{"a": ', b"\xff\xd8\xff\xe0"):
        path.write_bytes(spoiled)
        refused(r"a\.json is not JSON", read_json, path, dict)


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def mat(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, {"first": NUMBERS, "words": np.array(["a", "b"])}, do_compression=request.param)
    return path


def test_read_mat(mat: Path) -> None:
    np.testing.assert_array_equal(read_mat(mat, "first", (40, 3), SOURCE), NUMBERS)
    refused(r"a\.mat has no array second, only first, words", read_mat, mat, "second", (40, 3))
    refused("first should be numbers of shape 41 x 3 and is float64 of shape 40 x 3", read_mat, mat, "first", (41, 3))
    refused("words should be numbers", read_mat, mat, "words", (2,))


@pytest.mark.parametrize("bytes_left", [0, 50, 130, 190, 400])
def test_a_mat_file_cut_short_is_refused(mat: Path, bytes_left: int) -> None:
    mat.write_bytes(mat.read_bytes()[:bytes_left])
    refused(r"a\.mat (cannot be read|has no array)", read_mat, mat, "first", (40, 3))


def test_what_is_no_mat_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_text("<html>Not found</html>" * 20)
    refused("cannot be read as a MATLAB file", read_mat, tmp_path / "a.mat", "first", (40, 3))


SPOILED: list[Callable[[Path], object]] = [
    lambda path: path.write_bytes(path.read_bytes()[:300]),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(path.read_bytes()[:80] + b"\0" * 60 + path.read_bytes()[140:]),
    lambda path: np.savez(path, x=np.array([{}], dtype=object), y=np.arange(3)),
    lambda path: [np.save(path, np.arange(3)), path.with_suffix(".npz.npy").rename(path)],  # a single array
]


@pytest.mark.parametrize("spoil", SPOILED)
def test_read_npz(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, x=np.arange(1000), y=np.arange(3))
    assert [len(array) for array in read_npz(path, ("y", "x"), SOURCE)] == [3, 1000]
    refused(r"a\.npz cannot be read as .* arrays x and z", read_npz, path, ("x", "z"))
    spoil(path)
    refused("cannot be read as a NumPy archive", read_npz, path, ("x", "y"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_feature_rows_are_finite_and_in_the_order_asked_for(bad: float) -> None:
    array = np.arange(12.0).reshape(4, 3)
    array[2, 1] = bad
    rows = feature_rows(array, [3, 0], "what", SOURCE)
    assert rows.dtype == torch.float32
    assert rows.tolist() == [[9, 10, 11], [0, 1, 2]]
    refused("what should hold finite numbers, but 1 rows .* first row 2", feature_rows, array, [0, 2, 3], "what")
