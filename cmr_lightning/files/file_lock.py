"""Locks on files, which end with the process that holds them, however it ends.

They are flock's and not those of the library `filelock`, which cannot hand a lock on to a child process.
"""

import errno
import fcntl
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cmr_lightning.errors import UserError

_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # some file systems of clusters have none

_held: set[BinaryIO] = set()


def _leave_to_parent() -> None:
    """Close the locks of the process that this one was forked from, which would otherwise outlive that one."""
    for file in _held:
        file.close()
    _held.clear()


os.register_at_fork(after_in_child=_leave_to_parent)


def lock(file: BinaryIO) -> bool:
    """Take the lock on an open file; return False if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        warnings.warn(
            f"{file.name} lies on a file system without locks: start no second command on it at the same time.",
            stacklevel=2,
        )
    return True


def is_locked(path: Path) -> bool:
    """Return True if a process holds the lock on a file."""
    if not path.exists():
        return False
    with path.open("ab") as file:
        return not lock(file)


def refuse_locked(path: Path) -> None:
    """Raise UserError if a process holds the lock on a file."""
    if is_locked(path):
        raise _refused(path)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, which is created if necessary.

    Raises:
        UserError: If another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not lock(file):
            raise _refused(path)
        _held.add(file)
        try:
            yield
        finally:
            _held.discard(file)
            fcntl.flock(file, fcntl.LOCK_UN)


def _refused(path: Path) -> UserError:
    return UserError(f"Another process still works on {path.parent}: it holds {path.name} there.")


@contextmanager
def locked_in_turn(path: Path) -> Iterator[None]:
    """Hold the lock on a file, which is created if necessary, and wait until it is free."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        if not lock(file):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
