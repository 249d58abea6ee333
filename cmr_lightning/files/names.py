"""Names that people give to what becomes a folder or a file: experiments, runs, sweeps, stores, kept results."""

import unicodedata
from pathlib import Path

from cmr_lightning.errors import UserError

_MOST_BYTES = 200  # of a part; a file system takes 255, and files are written under a longer name first
_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")  # control characters, halves of characters, ends of lines and of paragraphs


def check_name(name: str, kind: str, nested: bool = True) -> str:
    """Return a name that stays in its folder.

    Args:
        name: The name.
        kind: What is called so, for the message.
        nested: Whether `/` may separate names of folders inside of that folder.

    Raises:
        UserError: If it is empty, leaves the folder, or holds characters that end a line or cannot be printed.

    Examples:
        >>> check_name("wikipedia/daml", "experiment")
        'wikipedia/daml'
        >>> check_name("../daml", "experiment")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cmr_lightning.errors.UserError: The experiment cannot be called '../daml', as '..' is no name of a folder; ...
    """
    for part in name.split("/") if nested else [name]:
        if not nested and "/" in name:
            raise _refused(name, kind, "it would lie in another folder")
        if part.strip() in ("", ".", "..") or part != part.strip():
            raise _refused(name, kind, f"{part!r} is no name of a folder")
        if len(part.encode(errors="replace")) > _MOST_BYTES:
            raise _refused(name, kind, f"it is longer than {_MOST_BYTES} bytes")
    if (sign := _unprintable(name)) is not None:
        raise _refused(name, kind, f"it holds {sign!r}")
    return name


def check_path(path: str | Path, key: str) -> Path:
    """Return the path that a setting gives, wherever it leads.

    Raises:
        UserError: If it is empty, or holds characters that end a line or cannot be printed.
    """
    if not str(path).strip():
        raise UserError(f"{key} is empty; give a path, or leave it out.")
    if (sign := _unprintable(str(path))) is not None:
        raise UserError(f"{key} is {str(path)!r}, which holds {sign!r}; give a path of printable characters.")
    return Path(path)


def _unprintable(text: str) -> str | None:
    return next((sign for sign in text if unicodedata.category(sign) in _UNPRINTABLE), None)


def _refused(name: str, kind: str, reason: str) -> UserError:
    shown = name if len(name) <= _MOST_BYTES else f"{name[:40]}..."
    return UserError(f"The {kind} cannot be called {shown!r}, as {reason}; give a plain name.")
