"""Reading the pickles inside published `.npy` files without running anything that they say.

A pickle is a program: what it names is imported and called. Here it may name nothing but NumPy's arrays, numbers and
their types, and of these it gets stand-ins that keep data and do nothing. Strings of Python 2 are read as latin-1.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cmr_lightning.errors import UserError

_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")
_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8"}
_FAULTS = (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError)
"""What damaged files and pickles raise."""


def read_pickled(path: Path, source: str) -> Any:
    """The one object that a `.npy` file without dimensions holds, made of plain Python values.

    Arrays of numbers inside it become nested lists, NumPy's numbers Python's.

    Args:
        path: The file.
        source: Where it comes from; it ends the message of each error.

    Raises:
        UserError: If it is no such file, is damaged, or holds anything else than dictionaries, lists, tuples, strings,
            numbers and arrays of numbers.
    """
    try:
        with path.open("rb") as file:
            _check_header(file)
            array = _Reader(file, encoding="latin1").load()
        return array.content()[0]
    except _FAULTS as error:
        raise UserError(
            f"{path} is not the pickle of a dictionary of lists, strings and numbers that it should be ({error}), so "
            f"it was not opened; {source}."
        ) from error


def _check_header(file: BinaryIO) -> None:
    """Leave the file where its pickle starts.

    Raises:
        ValueError: If it is no `.npy` file of one Python object.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if shape != () or dtype != np.dtype(object):
        raise ValueError(f"it holds an array {shape} of {dtype}")


class _Type:
    """Stands in for `numpy.dtype`: keeps the name of the type."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numbers(self, data: str | bytes, shape: tuple[int, ...]) -> Any:
        """Plain Python numbers from their bytes; Python 2 keeps bytes in strings."""
        if self.code not in _NUMBERS:
            raise pickle.UnpicklingError(f"numbers of the type {self.code!r}")
        content = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(content, self.order + self.code).reshape(shape).tolist()


class _Array:
    """Stands in for `numpy.ndarray`: keeps shape, type and content."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.type, self.columns_first, self.data = state

    def content(self) -> Any:
        """Objects as a list, numbers as nested lists."""
        if self.type.code.startswith("O"):
            return [_plain(item) for item in self.data]
        if self.columns_first:
            raise pickle.UnpicklingError("an array in Fortran's order")
        return self.type.numbers(self.data, self.shape)


def _reconstruct(*_: Any) -> _Array:
    """Stands in for what makes an empty array before its state is set."""
    return _Array()


def _scalar(kind: _Type, data: str | bytes) -> Any:
    """Stands in for what makes one of NumPy's numbers."""
    return kind.numbers(data, ())


class _NoArray:
    """What the pickle passes on as the class of the array; never made."""

    def __new__(cls) -> _NoArray:
        raise pickle.UnpicklingError("an array made in an unknown way")


class _Reader(pickle.Unpickler):
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for what the pickle names.

        Raises:
            UnpicklingError: If it has none.
        """
        if (module, name) == ("numpy", "dtype"):
            return _Type
        if (module, name) == ("numpy", "ndarray"):
            return _NoArray
        if module in _NUMPY and name in ("_reconstruct", "scalar"):
            return _reconstruct if name == "_reconstruct" else _scalar
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        """Nothing is kept outside the file."""
        raise pickle.UnpicklingError(f"it refers to something outside, {pid!r}")


def _plain(value: Any) -> Any:
    """The same, arrays as lists."""
    if isinstance(value, _Array):
        return value.content()
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bytes):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__}")
