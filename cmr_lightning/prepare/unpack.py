"""Unpacking an archive that nobody vouches for: nothing leaves the folder, nothing half-done is left to be found."""

from __future__ import annotations

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any

from rich.progress import track

from cmr_lightning.errors import UserError
from cmr_lightning.prepare.checks import CHUNK
from cmr_lightning.prepare.disk import disk_errors, require_space

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, RuntimeError)
"""How the standard library says that an archive is damaged or encrypted."""


@dataclass(frozen=True)
class _Member:
    """A file in an archive.

    Attributes:
        name: Its path.
        size: Its bytes, unpacked.
        kind: `file`, `folder`, or what else it is.
        handle: What the archive calls it.
    """

    name: str
    size: int
    kind: str
    handle: Any


class _Zip:
    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)

    def close(self) -> None:
        self._zip.close()

    def members(self) -> Iterator[_Member]:
        for info in self._zip.infolist():
            mode = info.external_attr >> 16  # where zips made on Unix keep it; 0 elsewhere
            plain = stat.S_IFMT(mode) in (0, stat.S_IFREG, stat.S_IFDIR)
            kind = ("folder" if info.is_dir() else "file") if plain else "a link or a device"
            yield _Member(info.filename, info.file_size, kind, info)

    def open(self, member: _Member) -> IO[bytes]:
        return self._zip.open(member.handle)


class _Tar:
    def __init__(self, path: Path) -> None:
        self._tar = tarfile.open(path)  # noqa: SIM115  # closed by `close`

    def close(self) -> None:
        self._tar.close()

    def members(self) -> Iterator[_Member]:
        for info in self._tar:
            kind = "file" if info.isreg() else "folder" if info.isdir() else "a link or a device"
            yield _Member(info.name, info.size, kind, info)

    def open(self, member: _Member) -> IO[bytes]:
        file = self._tar.extractfile(member.handle)
        assert file is not None  # members that are no plain files were refused
        return file


def is_archive(name: str) -> bool:
    """Whether a file of that name is one that we unpack."""
    return name.endswith((".zip", *_TARS))


def unpack(archive: Path, root: Path, holds: Sequence[str]) -> None:
    """Unpack an archive into a folder of its own and move what it brings into the root.

    What is in the root already stays as it is. A folder around everything in the archive is left away.

    Args:
        archive: A zip or tar file.
        root: Folder of the data set.
        holds: Files and folders that the archive brings; the rest of its content is left behind.

    Raises:
        UserError: If the archive is damaged or encrypted, holds paths outside its folder, links or devices, does not
            hold what it should, or if the disk is full.
    """
    scratch = root / f".unpacking-{archive.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with disk_errors(root):
            scratch.mkdir(parents=True)
            _extract(archive, scratch)
            content = _content(scratch, archive, holds)
            for name in holds:
                if not (root / name).exists():
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    (content / name).rename(root / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract(archive: Path, scratch: Path) -> None:
    try:
        opened = _Zip(archive) if archive.name.endswith(".zip") else _Tar(archive)
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    with closing(opened):
        members = _read(archive, opened)
        require_space(scratch, sum(member.size for member in members))
        for member in track(members, description=f"unpacking {archive.name}"):
            target = scratch / member.name
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as written:
                for block in _blocks(archive, opened, member):
                    written.write(block)


def _read(archive: Path, opened: _Zip | _Tar) -> list[_Member]:
    """All members, none of them dangerous; read before anything is written."""
    try:
        members = list(opened.members())
    except _DAMAGE as error:
        raise _damaged(archive, error) from error
    for member in members:
        fault = _danger(member)
        if fault:
            raise UserError(f"{archive} was not unpacked: its member {member.name!r} {fault}; it is not to be trusted.")
    return members


def _danger(member: _Member) -> str:
    if member.kind not in ("file", "folder"):
        return f"is {member.kind}"
    windows = PureWindowsPath(member.name)  # splits at slashes of both kinds
    if windows.drive or windows.root or PurePosixPath(member.name).is_absolute():
        return "has an absolute path"
    return "lies outside the folder" if ".." in windows.parts else ""


def _blocks(archive: Path, opened: _Zip | _Tar, member: _Member) -> Iterator[bytes]:
    """Content of a member; errors of writing it are not taken for errors of reading it."""
    try:
        with opened.open(member) as file:
            while block := file.read(CHUNK):
                yield block
    except _DAMAGE as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: Exception) -> UserError:
    return UserError(
        f"{archive} is not a whole archive ({type(error).__name__}: {error}); remove it and run the same command again."
    )


def _content(scratch: Path, archive: Path, holds: Sequence[str]) -> Path:
    """The unpacked folder that holds what the archive should bring."""
    around = [path for path in scratch.iterdir() if path.is_dir()]
    for folder in (scratch, *around):
        if all((folder / name).exists() for name in holds):
            return folder
    wanting = ", ".join(name for name in holds if not any((folder / name).exists() for folder in (scratch, *around)))
    raise UserError(f"{archive} does not hold {wanting or 'its files in one folder'}, so it is not what was published.")
