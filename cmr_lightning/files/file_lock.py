"""Locks on files, which end with the process that holds them, however it ends.

They are flock's and not those of the library `filelock`, which cannot hand a lock on to a child process.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cmr_lightning.errors import UserError


def lock(file: BinaryIO) -> bool:
    """Take the lock on an open file; return False if another process holds it."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def is_locked(path: Path) -> bool:
    """Return True if a process holds the lock on a file."""
    if not path.exists():
        return False
    with path.open("ab") as file:
        return not lock(file)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, which is created if necessary.

    Raises:
        UserError: If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not lock(file):
            raise UserError(f"another process still works on it (it holds {path})")
        yield


@contextmanager
def locked_in_turn(path: Path) -> Iterator[None]:
    """Hold the lock on a file, and wait until it is free."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
