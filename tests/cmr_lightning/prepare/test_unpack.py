import errno
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.prepare.unpack import unpack

CONTENT = {"list.txt": b"a\nb\n", "images/a.jpg": b"picture a" * 1000, "images/deep/b.jpg": b"picture b"}
HOLDS = ("list.txt", "images")
TAR_KINDS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)


def write_zip(path: Path, content: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            file.writestr(info, data)
    return path


def write_tar(path: Path, content: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/hostname"
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            file.addfile(info, io.BytesIO(data))
    return path


def write(path: Path, content: dict[str, bytes]) -> Path:
    return write_zip(path, content) if path.suffix == ".zip" else write_tar(path, content)


def held(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tgz"])
@pytest.mark.parametrize("around", ["", "release/"])
def test_an_archive_is_unpacked_without_the_folder_around_everything(tmp_path: Path, name: str, around: str) -> None:
    archive = write(tmp_path / name, {f"{around}{path}": data for path, data in CONTENT.items()})
    root = tmp_path / "root"
    unpack(archive, root, HOLDS)
    assert held(root) == CONTENT
    assert archive.exists()


def test_what_is_there_already_stays_and_what_nobody_asked_for_is_left_behind(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {**CONTENT, "README": b"no"})
    root = tmp_path / "root"
    root.mkdir()
    (root / "list.txt").write_bytes(b"mine")
    unpack(archive, root, HOLDS)
    assert held(root) == {**CONTENT, "list.txt": b"mine"}


@pytest.mark.parametrize("name", ["a.zip", "a.tar"])
@pytest.mark.parametrize("path", ["../evil.txt", "images/../../evil.txt", "..\\evil.txt", "/evil.txt", "C:\\evil.txt"])
def test_paths_outside_the_folder_are_refused_before_any_is_written(tmp_path: Path, name: str, path: str) -> None:
    archive = write(tmp_path / name, {**CONTENT, path: b"evil"})
    with pytest.raises(UserError, match=rf"{name} was not unpacked: its member .*evil\.txt' lies outside the folder"):
        unpack(archive, tmp_path / "root" / "inner", HOLDS)
    assert held(tmp_path / "root") == {}
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize("kind", [*TAR_KINDS, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes | int) -> None:
    if isinstance(kind, bytes):
        archive = write_tar(tmp_path / "a.tar", {"list.txt": b""}, kind)
    else:
        archive = write_zip(tmp_path / "a.zip", {"list.txt": b"/etc/hostname"}, kind | 0o777)
    with pytest.raises(UserError, match=r"'list\.txt' is a link or a device; it is not to be trusted"):
        unpack(archive, tmp_path / "root", HOLDS)
    assert held(tmp_path / "root") == {}


@pytest.mark.parametrize(
    ("name", "edit", "fault"),
    [
        *((name, lambda whole: whole[: len(whole) // 3], "") for name in ("a.zip", "a.tar", "a.tar.gz")),
        ("a.zip", lambda whole: whole.replace(b"picture b", b"picture x", 1), "BadZipFile: Bad CRC-32"),
        ("a.zip", lambda whole: b"<html>Sign in</html>", ""),
    ],
)
def test_damaged_archives_leave_nothing(tmp_path: Path, name: str, edit: Callable[[bytes], bytes], fault: str) -> None:
    archive = write(tmp_path / name, CONTENT)
    archive.write_bytes(edit(archive.read_bytes()))
    with pytest.raises(UserError, match=rf"{name} is not a whole archive \({fault}.*\); remove it and run the same"):
        unpack(archive, tmp_path / "root", HOLDS)
    assert held(tmp_path / "root") == {}


def test_another_archive_is_refused(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", {"list.txt": b"a"})
    with pytest.raises(UserError, match=r"a\.zip does not hold images, so it is not what was published"):
        unpack(archive, tmp_path / "root", HOLDS)
    assert held(tmp_path / "root") == {}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing_and_a_second_run_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    archive = write_zip(tmp_path / "a.zip", CONTENT)
    root = tmp_path / "root"

    def extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path) -> None:
        (folder / member.filename).write_bytes(b"half")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", extract)
        with pytest.raises((UserError, KeyboardInterrupt), match=r"The disk of .*root is full|^$"):
            unpack(archive, root, HOLDS)
    assert held(root) == {}
    unpack(archive, root, HOLDS)
    assert held(root) == CONTENT


def test_half_unpacked_content_of_a_killed_run_is_not_taken_for_whole(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "a.zip", CONTENT)
    scratch = tmp_path / "root" / ".unpacking-a.zip"
    scratch.mkdir(parents=True)
    (scratch / "list.txt").write_text("half")
    unpack(archive, tmp_path / "root", HOLDS)
    assert held(tmp_path / "root") == CONTENT
