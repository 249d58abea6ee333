import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cmr_lightning  # noqa: F401
from cmr_lightning.errors import UserError
from datamodules.reading.safe_pickle import read_pickled
from tests.datamodules.published.css3d import python2_npy

CONTENT = {
    "train": {"mods": [{"from": [0, 300], "to": [1, 70_000], "to_str": "make it red"}], "labels": [-1, 2**40]},
    "test": {"objects_img": [[{"pos": [0.25, 0.75], "size": "large", "seen": True, "note": None}]], "long": "x" * 300},
}


def read(path: Path) -> Any:
    return read_pickled(path, "it comes from elsewhere")


def saved(path: Path, content: Any) -> Path:
    """What NumPy itself writes today."""
    np.save(path, np.array(content, dtype=object) if not isinstance(content, np.ndarray) else content)
    return path


def npy(path: Path, program: bytes) -> Path:
    """A `.npy` file of one object, with any pickle in it."""
    whole = python2_npy({})
    path.write_bytes(whole[: whole.index(b"\x80\x02")] + program)
    return path


def test_reads_what_python_2_wrote_and_python_3_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(python2_npy(CONTENT))
    assert read(path) == CONTENT
    assert np.load(path, allow_pickle=True, encoding="latin1").item() == CONTENT  # and so does NumPy
    assert read(saved(path, CONTENT)) == CONTENT


@pytest.mark.parametrize("kind", ["i1", "u2", "i4", "i8", "f4", "f8", "bool", ">i4", ">f8"])
def test_arrays_and_numbers_of_numpy_become_plain_ones(tmp_path: Path, kind: str) -> None:
    array = np.array([[0, 1, 1], [1, 0, 1]], dtype=kind)
    found = read(saved(tmp_path / "a.npy", {"array": array, "number": array[0, 1]}))
    assert found == {"array": array.tolist(), "number": array[0, 1].item()}
    assert type(found["number"]) in (int, float, bool)


class Evil:
    """Writes to a file when it is unpickled by somebody who trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


def test_nothing_is_run(tmp_path: Path) -> None:
    struck = tmp_path / "struck"
    path = saved(tmp_path / "a.npy", {"mods": [Evil(struck)]})
    with pytest.raises(UserError, match=r"a\.npy is not the pickle .*it asks for posix\.system.*not opened; it comes"):
        read(path)
    assert not struck.exists()
    np.load(path, allow_pickle=True)
    assert struck.exists(), "the file would have struck others"


@pytest.mark.parametrize(
    "program",
    [
        b"cbuiltins\neval\n(U\x011tR.",
        b"c__builtin__\neval\n(U\x011tR.",
        b"cnumpy\nload\n.",
        b"cnumpy.core.multiarray\nfromfile\n.",
        b"cnumpy\ndtype\ncnumpy\nndarray\n\x85R.",
        b"(U\x011ios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"U\x01aQ.",
        b"Pa\n.",
        b"cnumpy\nndarray\n)R.",
        b"cdatetime\ndate\n(M\xe8\x07K\x01K\x01tR.",
    ],
)
def test_whatever_else_a_pickle_names_is_refused(tmp_path: Path, program: bytes) -> None:
    with pytest.raises(UserError, match="was not opened"):
        read(npy(tmp_path / "a.npy", program))


ITSELF: dict[str, Any] = {}
ITSELF["itself"] = ITSELF


@pytest.mark.parametrize(
    "value", [ITSELF, {1, 2}, range(3), 1j, np.array(["a"]), np.float16(1), np.datetime64("2020-01-01")]
)
def test_other_values_are_refused(tmp_path: Path, value: Any) -> None:
    with pytest.raises(UserError, match="was not opened"):
        read(saved(tmp_path / "a.npy", {"value": value}))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00", python2_npy(CONTENT)[:-40], pickle.dumps({}, 2)],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npy is not the pickle of a dictionary .*; it comes from elsewhere"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("array", [np.zeros(3), np.array([{}, {}], dtype=object)])
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(UserError, match="it holds an array"):
        read(saved(tmp_path / "a.npy", array))
