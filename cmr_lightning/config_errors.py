"""Errors of jsonargparse, and of pydantic within them, forty lines about a wrong config, in one sentence."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_parsing_settings
from omegaconf.errors import OmegaConfBaseException

from cmr_lightning.errors import UserError

_NOISE = re.compile(
    r"^(Does not validate|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|Expected a path but|$|"
    r"\d+ validation errors? for |For further information visit |"
    r"Subclass types expect one of|a class path \(str\)|a dict with(out)? )"
)
_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":(?P<rest>.*)')
_CLASS = re.compile(r"Problem with given class_path '(?P<name>[^']+)':")
_FACTORY = re.compile(r"Type .* expects a function or a callable class: (?P<rest>.*)")
_NO_CLASS = re.compile(r"Expected a dot import path string: (?P<name>.+)")
_NO_OPTION = re.compile(r"Option '(?P<name>[^']+)' is not accepted")
_EXPECTED = re.compile(r"Expected a (<class '(?P<type>[^']+)'>|typing\.Literal\[(?P<choices>[^\]]+)\])")
_RANGE = re.compile(
    r"(Input|String|Value error,) (?P<rule>should .+) \[type=\w+, input_value=(?P<value>.+), input_type="
)
_GOT = re.compile(r"\. Got value:(?P<value>.*?)(\. Got value: Namespace.*)?$")
_OF_CLASS = re.compile(r"\. Got value: Namespace\(class_path=.*$")
_GIVEN = re.compile(r"Given value: (?!NestedArg|Namespace|{'class_path)(?P<value>.+)")


def explain(message: str) -> str:
    """Extract key and complaint from an error message of jsonargparse, an indented tree of alternatives.

    Examples:
        >>> explain('Parser key "model": Expected a dot import path string: DAMEL')
        "model: there is no class 'DAMEL'; give the name of one of this package, or a full import path"
    """
    path: list[str] = []
    complaints: list[str] = []
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        if factory := _FACTORY.match(text):
            text = factory["rest"]
        if key := _KEY.match(text):
            path.append(key["key"])
            text = key["rest"].strip()
        elif (chosen := _CLASS.match(text)) and path:
            path[-1] += f" ({chosen['name'].rpartition('.')[2]})"
            continue
        if not _NOISE.match(text):
            complaints += _reword(text)
        elif (given := _GIVEN.match(text)) and all(complaint.startswith("expected") for complaint in complaints):
            complaints.append(f"got {given['value']}")
    return ": ".join(part for part in (".".join(path), "; ".join(dict.fromkeys(complaints))) if part)


def _reword(text: str) -> list[str]:
    if found := _NO_CLASS.match(text):
        return [f"there is no class {found['name']!r}; give the name of one of this package, or a full import path"]
    if found := _NO_OPTION.match(text):
        return [f"there is no option {found['name']!r}"]
    if found := _RANGE.match(text):
        rule, value = found["rule"], found["value"].strip("'")
        if rule.endswith((" than", " to")):  # of a value at the bound, jsonargparse leaves the number out
            rule += f" {value}"
        return [rule, f"got {value or 'nothing'}"]
    if found := _EXPECTED.match(text):
        expected = f"expected {found['type'] or 'one of ' + found['choices']}"
        got = _GOT.search(text)
        return [expected, f"got {got['value'].strip() or 'nothing'}"] if got else [expected]
    return [_OF_CLASS.sub("", text)]


def refuse_null(parser: ArgumentParser, config: Namespace) -> None:
    """Refuse null where a parameter may not be None; while it parses, jsonargparse takes null for nothing.

    Raises:
        ArgumentError: If a value of the parsed config is null and may not be.
    """
    set_parsing_settings(unset_sentinel=True)  # now another value stands for nothing; parsing by it does not work
    try:
        parser.validate(config)
    except TypeError as error:
        raise ArgumentError(None, str(error)) from error
    finally:
        set_parsing_settings(unset_sentinel=False)


@contextmanager
def errors_for_people() -> Iterator[None]:
    """Turn the errors of jsonargparse and OmegaConf inside the context into a `UserError` of one sentence."""
    try:
        yield
    except ArgumentError as error:
        raise UserError(f"The config is not right: {explain(str(error))}.") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"An interpolation of the config cannot be resolved: {reason}.") from error
    except ValueError as error:
        wrapped = _wrapped(error)
        if wrapped is None:
            raise
        raise wrapped from wrapped.__cause__


def _wrapped(error: BaseException) -> UserError | None:
    """Return the error for the user that jsonargparse wrapped while it tried one type after another, if any."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause
