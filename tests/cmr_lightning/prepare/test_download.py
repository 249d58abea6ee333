import errno
import hashlib
import random
import socket
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.prepare import disk, download
from cmr_lightning.prepare.download import fetch
from tests.cmr_lightning.prepare.server import Site

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(site: Site) -> str:
    site.files["data.bin"] = CONTENT
    return f"{site.address}/data.bin"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "downloads" / "data.bin"


def left(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


@pytest.fixture
def interrupted(url: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Downloads until the bar raises an error behind the second block of 50,000 bytes."""

    def fetch_two_blocks(error: BaseException) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(download, "CHUNK", 50_000)
            patch.setattr("rich.progress.Progress.advance", Mock(side_effect=[None, error]))
            fetch(url, target)

    return fetch_two_blocks


def test_a_file_is_fetched_whole_and_once_and_nothing_is_left_beside_it(site: Site, url: str, target: Path) -> None:
    fetch(url, target, len(CONTENT), SHA256)
    fetch(url, target)
    assert len(site.asked) == 1
    assert target.read_bytes() == CONTENT
    assert left(target) == ["data.bin"]


def test_an_unknown_checksum_is_reported(url: str, target: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(url, target)
    assert f"data.bin: the published SHA-256 is unknown; this file has {SHA256}" in capsys.readouterr().out


def test_a_cut_connection_is_resumed(site: Site, url: str, target: Path) -> None:
    site.cut = site.cut_later = 70_000
    fetch(url, target, len(CONTENT), SHA256)
    assert site.asked == ["", *(f"bytes={n}-" for n in (70_000, 140_000, 210_000, 280_000))]


def test_a_connection_that_brings_nothing_fails_and_a_second_run_resumes(site: Site, url: str, target: Path) -> None:
    site.cut, site.cut_later = 70_000, 0
    with pytest.raises(UserError, match=r"data\.bin was cut after 70,000 bytes; run the same command again"):
        fetch(url, target)
    assert not target.exists()
    site.cut_later = None
    fetch(url, target, len(CONTENT), SHA256)
    assert site.asked[-1] == "bytes=70000-"


@pytest.mark.parametrize("fault", ["no ranges", "changed", "no validator"])
def test_a_file_is_downloaded_from_its_beginning_where_our_bytes_may_not_belong_to_it(
    site: Site, url: str, target: Path, interrupted: Callable[[BaseException], None], fault: str
) -> None:
    site.validator = "" if fault == "no validator" else '"1"'
    with pytest.raises(KeyboardInterrupt):
        interrupted(KeyboardInterrupt())
    assert left(target) == ["data.bin.part", "data.bin.part.json"]
    other = CONTENT[::-1]
    if fault == "no ranges":
        site.ranges = False
    else:
        site.files["data.bin"] = other
    if fault == "changed":
        site.validator = '"2"'
    fetch(url, target)
    assert target.read_bytes() == (CONTENT if fault == "no ranges" else other)
    assert site.asked[-1] == ("" if fault == "no validator" else "bytes=100000-")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_after_an_interruption_or_a_full_disk_the_bytes_are_kept_and_used(
    site: Site, url: str, target: Path, interrupted: Callable[[BaseException], None], error: BaseException
) -> None:
    full = r"The disk of .*downloads is full; make room there and run"
    with pytest.raises((KeyboardInterrupt, UserError), match="^$" if isinstance(error, KeyboardInterrupt) else full):
        interrupted(error)
    assert not target.exists()
    fetch(url, target, len(CONTENT), SHA256)
    assert site.asked == ["", "bytes=100000-"]


def test_a_disk_that_is_too_small_is_refused_at_once(url: str, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Mock(free=len(CONTENT) - 1))
    with pytest.raises(UserError, match=r"has 0\.0 GB left and 0\.0 GB are needed"):
        fetch(url, target)
    assert left(target) == []


@pytest.mark.parametrize(
    ("size", "sha256", "sentence"),
    [(None, "0" * 64, f"has the SHA-256 {SHA256}, expected {'0' * 64}"), (7, SHA256, "has 300,000 bytes, expected 7")],
)
def test_a_file_that_differs_is_removed(url: str, target: Path, size: int | None, sha256: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"{sentence}, so it is not the one that was published; it was removed"):
        fetch(url, target, size, sha256)
    assert left(target) == []


@pytest.mark.parametrize(("status", "answer"), [(0, "404 Not Found"), (503, "503 Service Unavailable")])
def test_a_server_that_has_no_such_file_is_quoted(site: Site, target: Path, status: int, answer: str) -> None:
    site.status = status
    with pytest.raises(UserError, match=rf"answers {answer} for .*/gone\.bin; .*--url data\.bin=ADDRESS"):
        fetch(f"{site.address}/gone.bin", target)


def test_a_server_that_cannot_be_reached_is_named(target: Path) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}/data.bin"
        with pytest.raises(UserError, match=r"data\.bin cannot be reached \(.*\); check the network and run"):
            fetch(address, target)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "data.bin"])
def test_only_web_addresses_are_fetched(target: Path, url: str) -> None:
    with pytest.raises(UserError, match="must begin with https:// or http://"):
        fetch(url, target)
