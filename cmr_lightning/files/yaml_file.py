"""YAML: files that people write, and text.

A key that stands twice is refused, as all but its last value would be lost in silence, and so is what a few lines can
blow up to: aliases of aliases, and deep nesting.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from cmr_lightning.errors import UserError, system_reason

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it, is ten times as fast
_MOST_BYTES = 4 * 1024**2
_MOST_VALUES = 50_000
_DEEPEST = 100
_TOO_DEEP = f"it is nested deeper than {_DEEPEST} levels, or refers to itself"
_WRONG_VALUE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of PyYAML's constructors


class RefusedYAML(yaml.YAMLError):
    """YAML that can be parsed, but not be meant."""


def load_yaml(text: str) -> Any:
    """Parse YAML of plain values.

    Raises:
        yaml.YAMLError: If it is not YAML, a key stands twice, or it is too large or too deep.

    Examples:
        >>> load_yaml("seeds: [0, 1]")
        {'seeds': [0, 1]}
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _Measured().extent(node)
        return loader.construct_document(node)
    except _WRONG_VALUE as error:
        raise RefusedYAML(f"a value is not what its form or its tag says: {error}") from error
    except RecursionError as error:
        raise RefusedYAML(_TOO_DEEP) from error
    finally:
        loader.dispose()


@dataclass
class _Measured:
    """Extents of nodes: their values, with aliases written out, and their levels. A node in the making has none."""

    known: dict[int, tuple[int, int] | None] = field(default_factory=dict)

    def extent(self, node: yaml.Node, name: str = "") -> tuple[int, int]:
        """Measure a node, of which the message speaks by its dotted name, once."""
        if id(node) not in self.known:
            self.known[id(node)] = None
            inside = [self.extent(child, below) for child, below in _children(node, name)]
            values, levels = (
                1 + sum(values for values, _ in inside),
                1 + max((levels for _, levels in inside), default=0),
            )
            if values > _MOST_VALUES:
                raise RefusedYAML(f"it has more than {_MOST_VALUES:,} values, with its aliases written out")
            if levels > _DEEPEST:
                raise RefusedYAML(_TOO_DEEP)
            self.known[id(node)] = values, levels
        measured = self.known[id(node)]
        if measured is None:
            raise RefusedYAML(f"{name} refers to itself by an alias")
        return measured


def _children(node: yaml.Node, name: str) -> list[tuple[yaml.Node, str]]:
    """List the nodes below a node, with their dotted names.

    Raises:
        RefusedYAML: If a key stands twice.
    """
    if isinstance(node, yaml.SequenceNode):
        return [(child, name) for child in node.value]
    if not isinstance(node, yaml.MappingNode):
        return []
    lines: dict[tuple[str, str], int] = {}
    children = []
    for key, value in node.value:
        below = f"{name}.{key.value}" if name else str(key.value)
        line, same = key.start_mark.line + 1, (key.tag, str(key.value))
        if same in lines:
            raise RefusedYAML(f"the key {below} stands twice, in lines {lines[same]} and {line}; keep one of them")
        lines[same] = line
        children.append((value, below))
    return children


def read_yaml(path: Path, kind: str) -> Any:
    """Read a file that people write; messages call it by its `kind`, such as `sweep file`.

    Raises:
        UserError: If the file is missing or cannot be read, is not YAML in UTF-8, has a key twice, or is too large.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file, but must be a {kind} in YAML.")
        if path.exists() and path.stat().st_size > _MOST_BYTES:
            raise UserError(f"{path} is larger than {_MOST_BYTES // 1024**2} MiB, so it is hardly a {kind}.")
        return load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no {kind} {path}.") from None
    except OSError as error:
        raise UserError(f"The {kind} {path} cannot be read: {system_reason(error)}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not text in UTF-8, as a {kind} must be; save it in that encoding.") from error
    except RefusedYAML as error:
        raise UserError(f"{path}: {error}.") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {_problem(error)}.") from error


def read_settings(path: Path, kind: str) -> Mapping[str, Any]:
    """Read a file of keys and values that people write.

    Raises:
        UserError: As `read_yaml` does, and if there are no keys in it.
    """
    content = read_yaml(path, kind)
    if not isinstance(content, dict):
        found = "is empty" if content is None else "holds no keys"
        raise UserError(f"{path} {found}; a {kind} has lines of the form `key: value`.")
    return content


def _problem(error: yaml.YAMLError) -> str:
    """Return what is wrong, and in which line, in one sentence."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).partition("\n")[0]
