"""Reading the pickles inside published `.npy` files without running anything that they name.

A pickle is a program: what it names is imported and called. Here it may name nothing but NumPy's arrays, numbers and
their types, and gets stand-ins for them that hold data and do nothing. NumPy's own would not do: a crafted type makes
them take bytes for addresses.
"""

from pathlib import Path
from pickle import Unpickler, UnpicklingError
from typing import Any

import numpy as np

from cmr_lightning.errors import UserError

_NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")
_PLAIN = (dict, list, tuple, str, bytes, int, float, type(None))
_FAULTS = (UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
"""The exceptions that damaged files and pickles raise."""


def read_pickled(path: Path, source: str) -> Any:
    """Read the one object of a `.npy` file without dimensions; NumPy's arrays become lists and its numbers Python's.

    Where the file comes from, its `source`, ends the message of each error.

    Raises:
        UserError: If it is no such file, is damaged, or holds anything else than dictionaries, lists, tuples, strings,
            numbers and arrays of numbers.
    """
    try:
        with path.open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError("it is of another version than 1.0")
            shape, _, kind = np.lib.format.read_array_header_1_0(file)
            if shape != () or kind != np.dtype(object):
                raise ValueError(f"it holds an array {shape} of {kind}")
            (content,) = _Reader(file, encoding="latin1").load()  # strings of Python 2 may be bytes
        _check(content)
        return content
    except _FAULTS as error:
        raise UserError(
            f"{path} is not the pickle of a dictionary of lists, strings and numbers that it should be ({error}), so "
            f"it was not opened; {source}."
        ) from error


class _Type:
    """Stands in for `numpy.dtype`: keeps the name of the type."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code = code
        self.order = "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = ">" if state[1] == ">" else "<"

    def numbers(self, data: str | bytes, shape: tuple[int, ...] = (), order: Any = "C") -> Any:
        """Read plain numbers, nested in lists."""
        if self.code not in _NUMBERS:
            raise UnpicklingError(f"numbers of the type {self.code!r}")
        content = data.encode("latin1") if isinstance(data, str) else data
        return np.frombuffer(content, self.order + self.code).reshape(shape, order=order).tolist()


class _Array(list):
    """Stands in for `numpy.ndarray`, which a pickle makes empty and fills later."""

    def __init__(self, *_: Any) -> None:
        super().__init__()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, columns_first, data = state
        self[:] = data if kind.code[:1] == "O" else kind.numbers(data, shape, "F" if columns_first else "C")


class _Reader(Unpickler):
    """Knows the stand-ins and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name in ("_reconstruct", "scalar"):
            return _Array if name == "_reconstruct" else _Type.numbers
        if module == "numpy" and name in ("dtype", "ndarray"):
            return _Type if name == "dtype" else None  # the class of an array is passed on and never called
        raise UnpicklingError(f"it asks for {module}.{name}")


def _check(value: Any) -> None:
    if not isinstance(value, _PLAIN):
        raise UnpicklingError(f"a {type(value).__name__}")
    items = [*value, *value.values()] if isinstance(value, dict) else value
    for item in items if isinstance(items, list | tuple) else ():
        _check(item)
