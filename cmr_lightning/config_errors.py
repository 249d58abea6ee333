"""How jsonargparse reads configs, and its errors and pydantic's, forty lines about a wrong one, in one sentence."""

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, Namespace, set_loader, set_parsing_settings
from jsonargparse._optionals import get_omegaconf_loader
from jsonargparse._util import import_object
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cmr_lightning.errors import UserError
from cmr_lightning.files.yaml_file import load_yaml, read_yaml
from cmr_lightning.runs.settings import look_up

_NOISE = re.compile(
    r"^(Does not validate|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|Expected a path but|$|"
    r"\d+ validation errors? for |For further information visit |"
    r"Subclass types expect one of|a class path \(str\)|a dict with(out)? )"
)
_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":(?P<rest>.*)')
_CLASS = re.compile(r"Problem with given class_path '(?P<name>[^']+)':")
_FACTORY = re.compile(r"Type .* expects a function or a callable class: (?P<rest>.*)")
_NO_CLASS = re.compile(r"Expected a dot import path string: (?P<name>.+)")
_ABSTRACT = re.compile(r"Expected an instantiatable class, but (?P<name>\S+) is abstract")
_NO_OPTION = re.compile(r"Option '(?P<name>[^']+)' is not accepted")
_EXPECTED = re.compile(r"Expected a (<class '(?P<type>[^']+)'>|typing\.Literal\[(?P<choices>[^\]]+)\])")
_RANGE = re.compile(
    r"(Input|String|Value error,) (?P<rule>should .+) \[type=\w+, input_value=(?P<value>.+), input_type="
)
_GOT = re.compile(r"\. Got value:(?P<value>.*?)(\. Got value: Namespace.*)?$")
_SETTINGS = re.compile(r"\. Got value: Namespace.*$")
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
        if _exists(found["name"]):
            return [
                f"{found['name']!r} is found by its short name only where a parameter has a type; annotate that of "
                f"your class, as in `text_encoder: TextEncoder` (from cmr_lightning.retriever), or give the full "
                f"import path"
            ]
        return [f"there is no class {found['name']!r}; give the name of one of this package, or a full import path"]
    if found := _ABSTRACT.match(text):
        lacking = ", ".join(sorted(getattr(import_object(found["name"]), "__abstractmethods__", ())))
        return [f"{found['name']} must define {lacking}, before it can be used"]
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
    return [_SETTINGS.sub("", text)]


def set_up_parsing() -> None:
    """Let jsonargparse follow interpolations, and read YAML as carefully wherever it finds any as this project does."""
    set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
    usual = get_omegaconf_loader("omegaconf+")

    def careful(text: str) -> Any:
        if ":" in text:  # most texts are plain values of options
            load_yaml(text)
        return usual(text)

    set_loader("omegaconf+", careful, (YAMLError,))


def _exists(name: str) -> bool:
    """Tell whether a class of this project is called so."""
    ours = [module for key, module in sys.modules.items() if key.partition(".")[0] in ("cmr_lightning", "datamodules")]
    return any(isinstance(vars(module).get(name), type) for module in ours)


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
def errors_for_people(files: Sequence[Path] = ()) -> Iterator[None]:
    """Turn the errors of jsonargparse and OmegaConf inside the context into a `UserError` of one sentence.

    Args:
        files: The config files, of which that with the interpolation in question is named.
    """
    try:
        yield
    except ArgumentError as error:
        raise UserError(f"The config is not right: {explain(str(error))}.") from error
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{_interpolation(error, files)} cannot be resolved: {reason}.") from error
    except ValueError as error:
        if (wrapped := _wrapped(error)) is not None:
            raise wrapped from wrapped.__cause__
        raise


def _interpolation(error: OmegaConfBaseException, files: Sequence[Path]) -> str:
    """Name the interpolation that failed: its key and text, and the file where it stands."""
    key = str(error.full_key or "").partition(".")[2]  # behind the name of the command
    for file in reversed(files):
        written = look_up(read_yaml(file, "config file"), key) if key else None
        if "${" in str(written):
            return f"The interpolation {key}: {written} in {file}"
    return f"The interpolation at {key}" if key else "An interpolation of the config"


def _wrapped(error: BaseException) -> BaseException | None:
    """Return the error that jsonargparse wrapped while it tried one type after another, if any.

    It is one for the user, or that of a class that could not be built: jsonargparse's own are ValueErrors.
    """
    is_attempt = str(error).startswith("Does not validate against any")
    cause = error.__cause__
    while cause is not None and not isinstance(cause, UserError) and isinstance(cause, ValueError) and cause.__cause__:
        cause = cause.__cause__
    return cause if isinstance(cause, UserError) or is_attempt else None
