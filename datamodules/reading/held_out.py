"""Validation parts by a rule, for data sets that publish none and whose lists we may not copy."""

from __future__ import annotations

import hashlib


def held_out(name: str) -> bool:
    """Whether what has this name is in the validation part: a tenth of all names, by the hash of each.

    Args:
        name: Of a product, a noun or a picture; what belongs together must have one name.

    Returns:
        Whether the first 32 bits of the SHA-256 of its UTF-8 bytes are a multiple of 10.
    """
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) % 10 == 0
