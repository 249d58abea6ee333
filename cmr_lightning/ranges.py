"""Ranges of settings, as types: each stands once, with its parameter, and holds in a config and in Python alike.

The parser reads the types and refuses a config by the key of the value; a class that is `Checked` refuses the same
values when it is built in Python. A module of constructors must not import `annotations` from `__future__`, since the
parser then sees `int` where `Count` is written.
"""

from contextlib import suppress
from functools import cache
from pathlib import PurePath
from typing import Annotated, Any, Self, get_args, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AllowInfNan, BeforeValidator, TypeAdapter, ValidationError

from cmr_lightning.errors import UserError


def _no_truth_value(value: Any) -> Any:
    if isinstance(value, bool):  # Python takes it for 0 or 1
        raise ValueError("should be a number")
    return value


def _path_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, PurePath) else value


_NUMBER = BeforeValidator(_no_truth_value)
_FINITE = AllowInfNan(False)
_MOST = 10**9
_LARGEST = 1e6  # no sensible setting is larger, and float32 holds sums and squares of what it multiplies

Count = Annotated[int, _NUMBER, Ge(1), Le(_MOST)]
"""A number of things, at least 1."""

CountFromZero = Annotated[int, _NUMBER, Ge(0), Le(_MOST)]
"""A number of things, or the place of one, 0 or more."""

TextLength = Annotated[int, _NUMBER, Ge(3), Le(_MOST)]
"""A number of tokens that has room for begin, end and a word."""

PictureSide = Annotated[int, _NUMBER, Ge(1), Le(2**14)]
"""Side of a picture in pixels, 1 to 16384."""

Width = Annotated[int, _NUMBER, Ge(1), Le(2**16)]
"""Number of units of a layer, 1 to 65536."""

Seed = Annotated[int, _NUMBER, Ge(0), Lt(2**32)]
"""What NumPy's generators take as a seed."""

Name = Annotated[str, BeforeValidator(_path_as_text), MinLen(1)]
"""A name, a path or another word that must not be empty."""

Finite = Annotated[float, _NUMBER, _FINITE, Ge(-_LARGEST), Le(_LARGEST)]
"""A number of any sign."""

NonNegative = Annotated[float, _NUMBER, _FINITE, Ge(0), Le(_LARGEST)]
"""A finite number that may be 0."""

CosineMargin = Annotated[float, _NUMBER, _FINITE, Ge(0), Le(2)]
"""A difference of cosines, 0 to 2."""

SquaredMargin = Annotated[float, _NUMBER, _FINITE, Ge(0), Le(4)]
"""A squared distance of vectors of length 1, 0 to 4."""

Positive = Annotated[float, _NUMBER, _FINITE, Gt(0), Le(_LARGEST)]
"""A finite number above 0."""

LearningRate = Annotated[float, _NUMBER, _FINITE, Gt(0), Le(1e3)]
"""A learning rate."""

Fraction = Annotated[float, _NUMBER, _FINITE, Gt(0), Lt(1)]
"""A part of a whole, above 0 and below 1."""

UnitInterval = Annotated[float, _NUMBER, _FINITE, Ge(0), Le(1)]
"""A share, 0 to 1."""

PositiveShare = Annotated[float, _NUMBER, _FINITE, Gt(0), Le(1)]
"""A share above 0, 1 at most."""

Probability = Annotated[float, _NUMBER, _FINITE, Ge(0), Lt(1)]
"""A probability that something is left out, below 1: something has to remain."""


class Checked:
    """A base of classes whose constructors take values in the range of their parameters' types alone.

    The check is in `__new__`, so that constructors, and the signatures that the parser reads, stay as they are written.
    Arguments that a constructor passes on as `**kwargs` are checked by the types of the class that takes them.

    Raises:
        UserError: If a value is out of range.

    Examples:
        >>> class Layer(Checked):
        ...     def __init__(self, units: Width) -> None: ...
        >>> Layer(units=0)
        Traceback (most recent call last):
        cmr_lightning.errors.UserError: units of Layer is 0, but should be greater than or equal to 1.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Check the arguments before they reach the constructor."""
        ranges, names = _ranges(cls)  # type: ignore[arg-type]  # classes are hashable
        for name, value in {**dict(zip(names, args, strict=False)), **kwargs}.items():
            if name in ranges and (reason := refusal(ranges[name], value)):
                raise UserError(f"{name} of {cls.__name__} is {value!r}, but {reason}.")
        return super().__new__(cls)


def refusal(type_: TypeAdapter, value: Any) -> str | None:
    """Say how a value should be that is out of range; None if it is in it.

    Examples:
        >>> refusal(TypeAdapter(Probability), 1.0)
        'should be less than 1'
    """
    try:
        type_.validate_python(value)
    except ValidationError as error:
        return "should" + error.errors()[0]["msg"].partition("should")[2]
    return None


@cache
def _ranges(cls: type) -> tuple[dict[str, TypeAdapter], tuple[str, ...]]:
    """Return the parameters that have ranges, those of parents included, and the names of the positional ones."""
    hints: dict[str, Any] = {}
    positional: tuple[str, ...] = ()
    for owner in reversed(cls.__mro__):
        constructor = vars(owner).get("__init__")
        if constructor is not None and issubclass(owner, Checked):
            with suppress(NameError):  # where annotations name what only type checkers import, nobody can read ranges
                typed = get_type_hints(constructor, include_extras=True)
                hints |= {name: hint for name, hint in typed.items() if _has_range(hint)}  # a parent's range stays
            positional = constructor.__code__.co_varnames[1 : constructor.__code__.co_argcount]
    return {name: TypeAdapter(hint) for name, hint in hints.items()}, positional


def _has_range(hint: Any) -> bool:
    return hasattr(hint, "__metadata__") or any(_has_range(part) for part in get_args(hint))
