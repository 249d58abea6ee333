"""Sentences for disks that are full or may not be written to."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmr_lightning.errors import UserError, disk_is_full

AGAIN = "run the same command again to resume"


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """Turn the system's errors about a full or read-only disk into a sentence.

    Raises:
        UserError: Instead of the system's error.
    """
    try:
        yield
    except OSError as error:
        if disk_is_full(error):
            raise UserError(f"The disk of {folder} is full; make room there and {AGAIN}.") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise UserError(f"{folder} may not be written to; choose another folder with --root.") from error
        raise


def require_space(folder: Path, needed: int) -> None:
    """Refuse to begin what needs more bytes than the disk of an existing folder has left.

    Raises:
        UserError: If it does.
    """
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"The disk of {folder} has {free / 1e9:.1f} GB left and {needed / 1e9:.1f} GB are needed; make room there "
            f"and {AGAIN}."
        )
