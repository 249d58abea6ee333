"""YAML: files that people write, and text."""

from pathlib import Path
from typing import Any

import yaml

from cmr_lightning.errors import UserError

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it, is ten times as fast


def load_yaml(text: str) -> Any:
    """Parse YAML of plain values.

    Examples:
        >>> load_yaml("seeds: [0, 1]")
        {'seeds': [0, 1]}
    """
    return yaml.load(text, _Loader)


def read_yaml(path: Path, kind: str) -> Any:
    """Read a file that people write; messages call it by its `kind`, such as `sweep file`.

    Raises:
        UserError: If the file is missing, or is not YAML.
    """
    try:
        return load_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no {kind} {path}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}.") from error
