"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under another name that replaces `path` at the end, so that an interruption leaves no broken one."""
    beginning = unfinished(path)
    try:
        with beginning.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beginning.replace(path)
    finally:
        with suppress(OSError):
            beginning.unlink(missing_ok=True)


def unfinished(path: Path) -> Path:
    """Return the name under which a file is written; one of it is left where a process was killed."""
    return path.with_name(f".{path.name}.unfinished")


def write_whole(path: Path, text: str) -> None:
    """Write a file of UTF-8 text, whole or not at all."""
    with whole_file(path) as file:
        file.write(text.encode())
