"""Errors that the user can act on, and every other exception in plain words: what the command line prints."""

import errno
import os
import signal
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LONGEST = 500
_OF_THE_MACHINE = (errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOLCK, errno.EROFS, errno.ESTALE)
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "Cannot allocate memory", "unable to allocate")
_OURS = str(Path(__file__).parent)
_LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))


class UserError(Exception):
    """Something that the user can fix: a setting, a file, a loss that is no longer finite.

    The message is one clear sentence, or a few: what was wrong, which key or file, what to do. The command line prints
    it without a traceback and exits with code 2.
    """


class Terminated(KeyboardInterrupt):
    """The process was told to end by a signal, Ctrl-C or another: all are answered alike."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


# Of the operating system ---------------------------------------------------------------------------------------------


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


# In plain words ------------------------------------------------------------------------------------------------------


def interruption(error: BaseException) -> KeyboardInterrupt | None:
    """Find the Ctrl-C or the signal that led to an error, whatever it was turned into on its way; None if none did."""
    return next((link for link in _chain(error) if isinstance(link, KeyboardInterrupt)), None)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Go from an error to those that it came from, each once: errors that are raised again may lead to themselves."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def explain_interruption(stop: KeyboardInterrupt) -> tuple[int, str]:
    """Return the exit code of a command that was interrupted, and the sentence that it prints.

    Examples:
        >>> explain_interruption(KeyboardInterrupt())
        (130, 'Stopped by Ctrl-C.')
    """
    number = stop.number if isinstance(stop, Terminated) else signal.SIGINT
    by = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
    return 128 + number, " ".join([f"Stopped by {by}.", *_notes(stop)])


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code of a command that ended by an error, and what it prints: at most three lines.

    The code is 2 for what the user can mend, and 1 for a fault of the program.

    Examples:
        >>> explain(FileNotFoundError(errno.ENOENT, "No such file or directory", "a.txt"))
        (2, 'a.txt cannot be opened, read or written: No such file or directory.')
    """
    if isinstance(error, UserError):
        return 2, str(error)
    if (sentence := _for_user(error)) is not None:
        return 2, sentence
    what = f"{type(error).__name__}: {first}" if (first := _first_line(error)) else type(error).__name__
    hint = "This is a fault of the code there, not of your input; CMR_DEBUG=1 prints the traceback."
    return 1, "\n".join([f"{what} (at {_place(error)})", " ".join([hint, *_notes(error)])])


def _for_user(error: Exception) -> str | None:
    """Say what the user can do about an exception that no other place has foreseen; None for a fault of the program."""
    if _is_out_of_memory(error):
        remedy = "make data.batch_size, data.eval_batch_size or the model smaller, or end what else takes memory"
        return f"The memory is not enough ({_first_line(error) or 'at ' + _place(error)}); {remedy}."
    if isinstance(error, OSError) and disk_is_full(error):
        full = "The disk is full" if error.filename is None else f"The disk of {_brief(error.filename)} is full"
        return f"{full}; make room, and give the command again."
    if isinstance(error, OSError) and error.filename is not None and error.errno is not None:
        return f"{_brief(error.filename)} cannot be opened, read or written: {system_reason(error)}."
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        return f"The operating system refused to read or write (at {_place(error)}): {system_reason(error)}."
    if isinstance(error, UnicodeError):
        return f"A text is not in the encoding that it should be in (at {_place(error)}): {_first_line(error)}."
    if isinstance(error, RecursionError):
        return f"What was read is nested too deeply, or refers to itself (at {_place(error)}); make it flat."
    if isinstance(error, ModuleNotFoundError):
        return f"The Python package {error.name}, needed at {_place(error)}, is not installed."
    return None


def _is_out_of_memory(error: Exception) -> bool:
    """Recognise the errors of Python, NumPy and torch, which is not imported for it."""
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def _first_line(error: BaseException) -> str:
    return _brief(str(error).strip().partition("\n")[0].rstrip("."))


def _brief(text: object) -> str:
    """Shorten what may be as long as a whole file."""
    whole = os.fsdecode(text) if isinstance(text, bytes) else str(text)
    return whole if len(whole) <= _LONGEST else f"{whole[:_LONGEST]}..."


def _place(error: BaseException) -> str:
    """Find the line of our code, or of the user's, where an error began: neither Python's nor a library's."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = traceback.extract_tb(error.__traceback__)
    of_people = [frame for frame in frames if frame.filename.startswith(_OURS) or not _is_library(frame.filename)]
    return next((f"{_shown(frame.filename)}:{frame.lineno}" for frame in reversed(of_people)), "an unknown place")


def _is_library(file: str) -> bool:
    return file.startswith((*_LIBRARIES, "<"))


def _shown(file: str) -> str:
    parent = Path(_OURS).parent
    return str(Path(file).relative_to(parent)) if Path(file).is_relative_to(parent) else file


def _notes(error: BaseException) -> Iterator[str]:
    yield from getattr(error, "__notes__", ())


def keep_traceback(error: Exception, path: Path) -> None:
    """Append the traceback of an error to a log, and note it in the error."""
    with suppress(OSError):  # the error itself may be that nothing can be written
        with path.open("a", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
        error.add_note(f"It is also in {path}.")
