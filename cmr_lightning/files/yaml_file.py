"""YAML files that people write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cmr_lightning.errors import UserError


def read_yaml(path: Path, what: str) -> Any:
    """The content of a file.

    Args:
        path: The file.
        what: What people call it.

    Raises:
        UserError: If the file is missing, or is not YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"There is no {what} {path}.") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {error}.") from error
