"""What is wrong with a config, in one sentence, from what jsonargparse says in forty lines."""

from __future__ import annotations

import re

_NOISE = re.compile(
    r"^(Does not validate|Subtypes:|Errors:|Given value|Expected a <class 'NoneType'>|Expected a path but|$)"
)
_KEY = re.compile(r'Parser key "(?P<key>[^"]+)":(?P<rest>.*)')
_CLASS = re.compile(r"Problem with given class_path '(?P<name>[^']+)':")
_NO_CLASS = re.compile(r"Expected a dot import path string: (?P<name>.+)")
_NO_OPTION = re.compile(r"Option '(?P<name>[^']+)' is not accepted")


def explain(message: str) -> str:
    """The setting that jsonargparse complains about, and the complaint.

    Args:
        message: Its error message, an indented tree of alternatives of which none fits.

    Returns:
        E.g. `model (DAML).dim: Expected a <class 'int'>. Got value: abc`.
    """
    path: list[str] = []
    complaints: list[str] = []
    for line in message.splitlines():
        text = line.strip().removeprefix("- ")
        if key := _KEY.match(text):
            path.append(key["key"])
            text = key["rest"].strip()
        elif (given := _CLASS.match(text)) and path:
            path[-1] += f" ({given['name'].rpartition('.')[2]})"
            continue
        if not _NOISE.match(text):
            complaints.append(_reword(text))
    return ": ".join(part for part in (".".join(path), "; ".join(dict.fromkeys(complaints))) if part)


def _reword(text: str) -> str:
    if found := _NO_CLASS.match(text):
        return f"there is no class {found['name']!r}; give the name of one of this package, or a full import path"
    if found := _NO_OPTION.match(text):
        return f"there is no option {found['name']!r}"
    return text
