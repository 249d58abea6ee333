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


def read_rows(name: str) -> list[int]:
    """Return the rows of a published file that a committed list names by class, in rising order."""
    return sorted(row for rows in read_split(name)["rows"].values() for row in rows)


def check_labels(name: str, half: str, labels: Sequence[int], classes: Sequence[str], path: Path) -> None:
    """Compare the classes of all rows of a published file with a committed list, which tells their order.

    Args:
        name: Name of the committed list; its `labels` give for each half the class index of each row.
        half: The half that the file holds.
        labels: Class index of each row of the file.
        classes: Names of the classes, in the order of their indices.
        path: The file, for the message.

    Raises:
        UserError: If a row has another class: then it is not the published file, whose rows features follow.
    """
    for row, (found, expected) in enumerate(zip(labels, read_split(name)["labels"][half], strict=True)):
        if found != expected:
            raise UserError(
                f"{path} is not the published file, in its order: row {row}, counted from 0, should have the class "
                f"{classes[expected]} and has {classes[found]}."
            )


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
