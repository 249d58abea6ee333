import json

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from cmr_lightning.errors import UserError
from datamodules.reading.published_files import (
    feature_rows,
    find,
    read_json,
    read_lines,
    read_mat,
    read_npz,
    read_picture,
)

SOURCE = "get it there"


def test_find_returns_a_file_and_names_what_is_missing(tmp_path):
    (tmp_path / "here.txt").touch()
    assert find(tmp_path, "here.txt", SOURCE) == tmp_path / "here.txt"
    with pytest.raises(UserError, match=rf"gone\.txt is missing; {SOURCE}\."):
        find(tmp_path, "gone.txt", SOURCE)
    missing = rf"folder .*nowhere, given as data\.root, does not exist, so here\.txt is missing; {SOURCE}\."
    with pytest.raises(UserError, match=missing):
        find(tmp_path / "nowhere", "here.txt", SOURCE)


def test_find_needs_no_folder_for_a_file_elsewhere(tmp_path):
    (tmp_path / "here.txt").touch()
    assert find(tmp_path / "nowhere", str(tmp_path / "here.txt"), SOURCE) == tmp_path / "here.txt"


def test_read_lines_counts(tmp_path):
    path = tmp_path / "list"
    path.write_text("one\ntwo\n")
    assert read_lines(path, 2, SOURCE) == ["one", "two"]
    with pytest.raises(UserError, match=rf"list should have 3 lines and has 2; {SOURCE}"):
        read_lines(path, 3, SOURCE)


def test_read_json(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path, SOURCE) == {"a": 1}
    path.write_text('{"a": ')
    with pytest.raises(UserError, match=rf"a\.json is not JSON .*; {SOURCE}"):
        read_json(path, SOURCE)
    path.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match="is not JSON"):
        read_json(path, SOURCE)
    path.write_text("[1]")
    with pytest.raises(UserError, match="should hold a JSON object and holds a list"):
        read_json(path, SOURCE)


class TestReadMat:
    """Arrays of MATLAB files."""

    array = np.random.default_rng(0).random((40, 3))

    @pytest.fixture(params=[False, True], ids=["plain", "compressed"])
    def path(self, tmp_path, request):
        path = tmp_path / "a.mat"
        scipy.io.savemat(path, {"first": self.array, "words": np.array(["a", "b"])}, do_compression=request.param)
        return path

    def test_returns_the_array(self, path):
        np.testing.assert_array_equal(read_mat(path, "first", (40, 3), SOURCE), self.array)

    def test_names_the_arrays_that_are_there(self, path):
        with pytest.raises(UserError, match=rf"a\.mat has no array second, only first, words; {SOURCE}"):
            read_mat(path, "second", (40, 3), SOURCE)

    def test_says_both_shapes(self, path):
        with pytest.raises(
            UserError, match=f"first should be numbers of shape 41 x 3 and is float64 of shape 40 x 3; {SOURCE}"
        ):
            read_mat(path, "first", (41, 3), SOURCE)

    def test_refuses_text(self, path):
        with pytest.raises(UserError, match="words should be numbers"):
            read_mat(path, "words", (2,), SOURCE)

    @pytest.mark.parametrize("bytes_left", [0, 50, 130, 190, 400])
    def test_refuses_a_truncated_file(self, path, bytes_left):
        path.write_bytes(path.read_bytes()[:bytes_left])
        with pytest.raises(UserError, match=rf"a\.mat (cannot be read|has no array).*; {SOURCE}"):
            read_mat(path, "first", (40, 3), SOURCE)

    def test_refuses_another_kind_of_file(self, path):
        path.write_text("<html>Not found</html>" * 20)
        with pytest.raises(UserError, match="cannot be read as a MATLAB file"):
            read_mat(path, "first", (40, 3), SOURCE)


class TestReadNpz:
    """Arrays of NumPy archives."""

    @pytest.fixture
    def path(self, tmp_path):
        np.savez_compressed(tmp_path / "a.npz", x=np.arange(1000), y=np.arange(3))
        return tmp_path / "a.npz"

    def test_returns_the_arrays_in_the_order_asked_for(self, path):
        y, x = read_npz(path, ("y", "x"), SOURCE)
        assert len(y) == 3
        assert len(x) == 1000

    def test_names_missing_arrays(self, path):
        with pytest.raises(UserError, match=rf"a\.npz cannot be read as .* arrays x and z .*; {SOURCE}"):
            read_npz(path, ("x", "z"), SOURCE)

    @pytest.mark.parametrize("spoil", [lambda b: b[:300], lambda b: b"", lambda b: b[:80] + b"\0" * 60 + b[140:]])
    def test_refuses_damaged_files(self, path, spoil):
        path.write_bytes(spoil(path.read_bytes()))
        with pytest.raises(UserError, match="cannot be read as a NumPy archive"):
            read_npz(path, ("x", "y"), SOURCE)

    def test_refuses_a_single_array(self, path):
        with path.open("wb") as file:
            np.save(file, np.arange(3))
        with pytest.raises(UserError, match="cannot be read as a NumPy archive"):
            read_npz(path, ("x", "y"), SOURCE)

    def test_refuses_pickled_objects(self, path):
        np.savez(path, x=np.array([{}], dtype=object))
        with pytest.raises(UserError, match="cannot be read as a NumPy archive"):
            read_npz(path, ("x",), SOURCE)


class TestFeatureRows:
    """Feature vectors of some rows."""

    def test_selects_in_the_order_asked_for(self):
        rows = feature_rows(np.arange(12.0).reshape(4, 3), [3, 0], "what", SOURCE)
        assert rows.dtype == torch.float32
        assert rows.tolist() == [[9, 10, 11], [0, 1, 2]]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
    def test_names_the_first_bad_row(self, bad):
        array = np.zeros((4, 3))
        array[2, 1] = bad
        with pytest.raises(
            UserError, match=f"what should hold finite numbers, but 1 rows .* first row 2, .*; {SOURCE}"
        ):
            feature_rows(array, [0, 2, 3], "what", SOURCE)

    def test_does_not_look_at_other_rows(self):
        array = np.zeros((4, 3))
        array[2, 1] = np.nan
        assert feature_rows(array, [0, 1, 3], "what", SOURCE).sum() == 0


def test_read_picture(tmp_path):
    path = tmp_path / "a.jpg"
    Image.new("L", (6, 4), 200).save(path)
    picture = read_picture(path)
    assert picture.shape == (4, 6, 3)
    assert picture.dtype == np.uint8
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"a\.jpg cannot be read as a picture"):
        read_picture(path)
