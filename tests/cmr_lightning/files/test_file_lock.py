from pathlib import Path
from threading import Event, Thread

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.files.file_lock import is_locked, lock, locked, locked_in_turn


def test_one_holds_the_lock_and_others_are_told(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.lock"
    assert not is_locked(path)
    with locked(path):
        assert is_locked(path)
        with path.open("ab") as file:
            assert not lock(file)
        with (
            pytest.raises(UserError, match=r"Another process still works on .*folder: it holds a\.lock there\."),
            locked(path),
        ):
            pass
    assert not is_locked(path)


def test_in_turn_waits_for_the_one_before(tmp_path: Path) -> None:
    path, entered = tmp_path / "a.lock", Event()

    def second() -> None:
        with locked_in_turn(path):
            entered.set()

    with locked_in_turn(path):
        waiting = Thread(target=second)
        waiting.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    waiting.join()
