"""Every exception in plain words: what the command line prints, and by which code it ends."""

import errno
import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cmr_lightning.errors import Terminated, UserError, explain, explain_interruption, interruption, keep_traceback


def raised(action: Callable[[], object]) -> Exception:
    """What an action really raises."""
    with pytest.raises(Exception) as caught:
        action()
    return caught.value


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    ("action", "parts"),
    [
        (lambda: Path("/nowhere/a.txt").read_bytes(), ["/nowhere/a.txt", "No such file"]),
        (lambda: Path("/").read_text(), ["/", "Is a directory"]),
        (lambda: Path("/dev/null/a").mkdir(), ["/dev/null/a", "Not a directory"]),
        (lambda: Path("x" * 5000).touch(), ["xxx...", "File name too long"]),
        (lambda: Path("a\udcff").touch() or "a\udcff".encode(), ["encoding", "surrogates not allowed"]),
        (lambda: b"\xff\xfe".decode(), ["not in the encoding", "test_errors.py"]),
        (lambda: json.loads(nested(100_000)), ["nested too deeply", "test_errors.py"]),
        (lambda: np.empty((10**12, 8)), ["memory is not enough", "58.2 TiB", "data.batch_size"]),
        (lambda: torch.empty(10**15), ["memory is not enough", "data.batch_size"]),
        (lambda: __import__("no_such_package"), ["no_such_package", "not installed"]),
    ],
)
def test_what_the_user_can_mend_is_one_sentence(
    action: Callable[[], object], parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, sentence = explain(raised(action))
    assert code == 2
    assert all(part in sentence for part in parts), sentence
    assert "\n" not in sentence
    assert len(sentence) < 900


@pytest.mark.parametrize(
    ("error", "part"),
    [
        (UserError("The file is missing; get it."), "The file is missing; get it."),
        (OSError(errno.ENOSPC, "No space"), "The disk is full; make room"),
        (OSError(errno.EDQUOT, "Quota", "/data/a"), "The disk of /data/a is full"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory is not enough"),
        (MemoryError(), "memory is not enough"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "CUDA out of memory"),
    ],
)
def test_errors_that_cannot_be_provoked(error: Exception, part: str) -> None:
    code, sentence = explain(error)
    assert code == 2
    assert part in sentence


@pytest.mark.parametrize(
    "error", [KeyError("a"), OSError(errno.EBADF, "Bad file descriptor"), ValueError("a\nb\nc" * 999)]
)
def test_a_fault_has_two_lines_and_its_place(error: Exception) -> None:
    def fail() -> None:
        raise error

    code, text = explain(raised(fail))
    assert code == 1
    first, second = text.split("\n")
    assert first.startswith(f"{type(error).__name__}: ")
    assert "test_errors.py:" in first
    assert len(first) < 900
    assert "CMR_DEBUG=1" in second


def test_the_place_is_where_the_error_began_in_code_of_people() -> None:
    """Not in a library, and not where it was turned into another error."""
    inner = raised(lambda: torch.nn.Linear(2, 3)(torch.ones(5)))

    def wrap() -> None:
        raise RuntimeError("wrapped") from inner

    line = next(
        number
        for number, text in enumerate(Path(__file__).read_text().splitlines(), 1)
        if "torch.nn.Linear(2, 3)" in text
    )
    assert f"test_errors.py:{line})" in explain(raised(wrap))[1]


def test_a_traceback_is_kept_and_said_to_be(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("before\n")
    error = raised(lambda: {}["missing"])
    keep_traceback(error, log)
    assert log.read_text().startswith("before\nTraceback (most recent call last)")
    assert f"It is also in {log}." in explain(error)[1]
    keep_traceback(error, tmp_path / "no folder" / "run.log")  # a log that cannot be written hides no error


@pytest.mark.parametrize(
    ("stop", "answer"),
    [
        (KeyboardInterrupt(), (130, "Stopped by Ctrl-C.")),
        (Terminated(signal.SIGTERM), (143, "Stopped by SIGTERM.")),
        (Terminated(signal.SIGHUP), (129, "Stopped by SIGHUP.")),
    ],
)
def test_an_interruption_is_found_in_what_it_was_turned_into(stop: KeyboardInterrupt, answer: tuple[int, str]) -> None:
    """An import that is interrupted may fail by another error, and Lightning exits with code 1."""
    for other in (ImportError("half imported"), SystemExit(1), UserError("cannot be read")):
        try:
            try:
                raise stop
            except KeyboardInterrupt:
                raise other  # noqa: B904
        except BaseException as error:
            found = interruption(error)
        assert found is stop
        assert explain_interruption(found) == answer
    stop.add_note("The same command continues.")
    assert explain_interruption(stop)[1].endswith(". The same command continues.")


def test_errors_that_lead_to_themselves_have_an_end() -> None:
    first, second = ValueError("a"), UserError("b")
    first.__cause__, second.__context__ = second, first
    assert interruption(second) is None
    assert explain(first)[0] == 1
