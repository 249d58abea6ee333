"""Errors that the user can act on, and those of the operating system in plain words."""

import errno


class UserError(Exception):
    """Something that the user can fix: a setting, a file, a loss that is no longer finite.

    The message is one clear sentence, or a few: what was wrong, which key or file, what to do. The command line prints
    it without a traceback and exits with code 2; every other exception is a fault of the program and keeps its
    traceback.
    """


def disk_is_full(error: OSError) -> bool:
    """Tell whether a write failed for want of space or because of a quota.

    Examples:
        >>> disk_is_full(OSError(errno.EDQUOT, "Disk quota exceeded"))
        True
    """
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def system_reason(error: OSError) -> str:
    """Return in a few words why the operating system refused to read or write a file.

    Examples:
        >>> system_reason(OSError(errno.EROFS, "Read-only file system"))
        'Read-only file system'
        >>> system_reason(OSError(errno.ENOSPC, "No space left on device"))
        'the disk is full'
    """
    return "the disk is full" if disk_is_full(error) else error.strerror or str(error)


def message_for_user(error: Exception) -> str | None:
    """Return what the command line prints about an error; None if the error is a fault of the program."""
    if isinstance(error, OSError) and disk_is_full(error):
        return "The disk is full; make room, and give the command again."
    return str(error) if isinstance(error, UserError) else None
