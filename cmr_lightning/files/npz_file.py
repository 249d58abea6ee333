"""NumPy archives that are read from files of others."""

import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DAMAGES = (
    *(EOFError, LookupError, MemoryError, NotImplementedError, OverflowError, TypeError, ValueError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
"""Errors of reading an archive that is damaged, or was made by somebody else: `read_arrays` and who uses its arrays."""


def read_arrays(path: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Read all arrays of an archive, without running code that may be hidden in it.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the arrays are larger than `most_bytes` together, or it is another file; see `DAMAGES`.
    """
    with zipfile.ZipFile(path) as archive:  # what is compressed may be a thousand times as large
        size = sum(member.file_size for member in archive.infolist())
    if size > most_bytes:
        raise ValueError(f"its arrays take {size / 2**20:,.0f} MiB")
    with np.load(path, allow_pickle=False) as opened:
        arrays = dict(opened)
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise ValueError("it holds other things than arrays")
    return arrays
