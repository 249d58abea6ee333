"""Splits: lists that are committed with this package, each verified against `splits/SHA256SUMS`, and a rule.

The checksum file has the format of `sha256sum`, so that `cd datamodules/splits && sha256sum -c SHA256SUMS` verifies
the lists without Python.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError

SPLITS = Path(__file__).parents[1] / "splits"
CHECKSUMS = "SHA256SUMS"


def read_split(name: str, folder: Path | None = None) -> dict[str, Any]:
    """Read one committed list, as `<name>.json` of its folder holds it.

    Args:
        name: Name of the list.
        folder: Folder of the lists and of their `SHA256SUMS`; None for that of this project.

    Raises:
        UserError: If the file is missing, or is not the one whose checksum was committed.
    """
    folder = folder or SPLITS
    path = folder / f"{name}.json"
    content = _read(path)
    committed = map(str.split, _read(folder / CHECKSUMS).decode().splitlines())
    if [hashlib.sha256(content).hexdigest(), path.name] not in committed:
        raise UserError(
            f"{path} does not have the checksum of {folder / CHECKSUMS}, so it is not the committed split; "
            f"restore it with git or install again."
        )
    return json.loads(content)


def read_rows(name: str, labels: Sequence[int], classes: Sequence[str], path: Path) -> list[int]:
    """Return the rows of a published file that a committed list names by class, in rising order.

    Args:
        name: Name of the committed list; its `rows` give for each class the rows, counted from 0.
        labels: Class index of each row of the published file.
        classes: Names of the classes, in the order of their indices.
        path: The published file, for the message.

    Raises:
        UserError: If a row has another class than the committed list says: then it is not the published file.
    """
    rows = read_split(name)["rows"]
    for index, label in enumerate(classes):
        for row in rows[label]:
            if row >= len(labels) or labels[row] != index:
                found = f"has {classes[labels[row]]}" if row < len(labels) else "is not there"
                raise UserError(
                    f"{path} is not the published file, in its order: row {row}, counted from 0, should have the class "
                    f"{label} and {found}."
                )
    return sorted(row for label in classes for row in rows[label])


def held_out(name: str) -> bool:
    """Tell whether a name is in the validation part of a data set that publishes none and whose lists are not free.

    These are a tenth of all names, of products, nouns or pictures; what belongs together must have one name. The first
    32 bits of their SHA-256, as a number, are a multiple of 10.

    Examples:
        >>> [name for name in ("bear", "car", "cup", "tie") if held_out(name)]
        ['car', 'tie']
    """
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10 == 0


def _read(path: Path) -> bytes:
    if not path.is_file():
        raise UserError(f"{path} is missing; it is part of the project, so restore it with git or install again.")
    return path.read_bytes()
