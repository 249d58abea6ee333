"""Reading published files, with errors that name the file, what was expected, what was found, and where to get it.

Every function raises a `UserError` for a file that is missing, damaged or of another form. Its `source` says where the
file comes from and where it goes, as `Facts.source` does, and ends the message.
"""

import json
import unicodedata
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import scipy.io
import torch
from torch import Tensor

from cmr_lightning.errors import UserError

Form = TypeVar("Form", dict, list)

_JSON = {dict: "a JSON object", list: "a list"}


def find(root: Path, name: str, source: str) -> Path:
    """Find the file `name` under the folder of a data set."""
    path = on_disk(root, name)
    if path.is_file():
        return path
    if not root.is_dir():
        raise UserError(f"The folder {root}, given as data.root, does not exist, so {name} is missing; {source}.")
    raise UserError(f"{path} is missing; {source}.")


def on_disk(root: Path, name: str) -> Path:
    """Return where the file `name` is under a folder, in whichever normal form of Unicode the disk has its name.

    Where é may be one character in a table, it may be two in the name on the disk: an e and its accent.
    """
    if name.isascii():
        return root / name
    path = root
    for step in PurePosixPath(name).parts:
        forms = [step, *(unicodedata.normalize(form, step) for form in ("NFC", "NFD"))]
        path = next((path / form for form in forms if (path / form).exists()), path / step)
    return path


def read_lines(path: Path, count: int, source: str) -> list[str]:
    """Read a text file that must have `count` lines."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) != count:
        raise UserError(f"{path} should have {count} lines and has {len(lines)}; {source}.")
    return lines


def read_json(path: Path, kind: type[Form], source: str) -> Form:
    """Read a JSON file that must hold a `dict` or a `list`, the `kind`."""
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}), perhaps it was cut short; {source}.") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} should hold {_JSON[kind]} and holds a {type(content).__name__}; {source}.")
    return content


def read_mat(path: Path, key: str, shape: tuple[int, int], source: str) -> np.ndarray:
    """Read one array of numbers of a MATLAB file, which must have that shape, and no other array."""
    try:
        names = [name for name, _, _ in scipy.io.whosmat(path)]
        content = scipy.io.loadmat(path, variable_names=[key])
    except Exception as error:  # what SciPy raises on damaged files is of many types, none of them documented
        raise UserError(
            f"{path} cannot be read as a MATLAB file ({error}), perhaps it was cut short; {source}."
        ) from error
    if key not in content:
        raise UserError(f"{path} has no array {key}, only {', '.join(names) or 'none at all'}; {source}.")
    array = content[key]
    if array.shape != shape or array.dtype.kind not in "iuf":
        raise UserError(
            f"{path}: {key} should be numbers of shape {_times(shape)} and is {array.dtype} of shape "
            f"{_times(array.shape)}; {source}."
        )
    return array


def read_npz(path: Path, keys: Sequence[str], source: str) -> list[np.ndarray]:
    """Read the named arrays of a NumPy archive, which must all be there."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            return [archive[key] for key in keys]
    except (OSError, EOFError, ValueError, TypeError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{path} cannot be read as a NumPy archive with the arrays {' and '.join(keys)} ({error}); {source}."
        ) from error


def feature_rows(array: np.ndarray, rows: Sequence[int], what: str, source: str) -> Tensor:
    """Take some rows, counted from 0, of an array `(N, D)` as float32 feature vectors; no others are checked.

    `what` names the file and the array in the message.

    Raises:
        UserError: If one of these rows holds a NaN, or a number that is infinite in float32.

    Examples:
        >>> feature_rows(np.eye(3), [2, 0], "f.npz: features", "get it again")
        tensor([[0., 0., 1.],
                [1., 0., 0.]])
    """
    with np.errstate(over="ignore"):  # numbers beyond float32 become infinite, which is reported below
        selected = array[np.asarray(rows)].astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(selected).all(axis=1))
    if len(bad):
        raise UserError(
            f"{what} should hold finite numbers, but {len(bad)} rows have NaN or infinite ones, first row "
            f"{rows[bad[0]]}, counted from 0; {source}."
        )
    return torch.from_numpy(selected)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
