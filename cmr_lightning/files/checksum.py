"""Checksums: the SHA-256 of files, and its beginning, by which contents are told apart."""

import hashlib
from pathlib import Path

_DIGITS = 16
"""Enough that no two of a thousand million contents are likely to share them, and few enough to compare by eye."""


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short_checksum(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of some bytes.

    Args:
        content: The bytes.

    Examples:
        >>> short_checksum(b"a dog")
        '7dbdf68ac0bb3482'
    """
    return hashlib.sha256(content).hexdigest()[:_DIGITS]
