"""Unpacking an archive that nobody vouches for: nothing leaves the folder, no half-unpacked content is left behind."""

import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PureWindowsPath

from rich.progress import track

from cmr_lightning.errors import UserError
from cmr_lightning.prepare.disk import disk_errors, require_space

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError)
"""What the standard library raises on an archive that is damaged or encrypted."""


def is_archive(name: str) -> bool:
    """Return whether a file of that name is one that `unpack` takes.

    Examples:
        >>> is_archive("images.tar.gz"), is_archive("queries.txt")
        (True, False)
    """
    return name.endswith((".zip", *_TARS))


def unpack(archive: Path, root: Path, holds: Sequence[str]) -> None:
    """Unpack an archive into a folder of its own and move what it brings into the root.

    What is in the root already stays as it is. A folder around everything in the archive is left out.

    Args:
        archive: A zip or tar file.
        root: Folder of the data set.
        holds: Files and folders that the archive brings; the rest of its content is left out.

    Raises:
        UserError: If the archive is damaged or encrypted, holds paths outside its folder, links or devices, does not
            hold what it should, or if the disk is full.
    """
    scratch = root / f".unpacking-{archive.name}"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        with disk_errors(root):
            scratch.mkdir(parents=True)
            with _archive_errors(archive):
                (_extract_zip if archive.name.endswith(".zip") else _extract_tar)(archive, scratch)
            content = _content(scratch, archive, holds)
            for name in holds:
                if not (root / name).exists():
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    (content / name).rename(root / name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _extract_zip(archive: Path, scratch: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            mode = stat.S_IFMT(member.external_attr >> 16)  # where zips made on Unix keep it; 0 elsewhere
            _require_safe(archive, member.filename, plain=mode in (0, stat.S_IFREG, stat.S_IFDIR))
        require_space(scratch, sum(member.file_size for member in members))
        for member in track(members, description=f"unpacking {archive.name}"):
            opened.extract(member, scratch)


def _extract_tar(archive: Path, scratch: Path) -> None:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        for member in members:
            _require_safe(archive, member.name, plain=member.isreg() or member.isdir())
        require_space(scratch, sum(member.size for member in members))
        for member in track(members, description=f"unpacking {archive.name}"):
            opened.extract(member, scratch, filter="data")


def _require_safe(archive: Path, name: str, *, plain: bool) -> None:
    """Refuse what the standard library would silently bend into the folder: it is not what was published."""
    path = PureWindowsPath(name)  # splits at slashes of both kinds
    if not plain or path.drive or path.root or ".." in path.parts:
        fault = "lies outside the folder" if plain else "is a link or a device"
        raise UserError(f"{archive} was not unpacked: its member {name!r} {fault}; it is not to be trusted.")


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    """Turn the errors of a damaged archive into a sentence; those of the disk pass."""
    try:
        yield
    except (*_DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # without a number it is a decompressor's
            raise
        fault = f"is not a whole archive ({type(error).__name__}: {error}); remove it and run the same command again"
        raise UserError(f"{archive} {fault}.") from error


def _content(scratch: Path, archive: Path, holds: Sequence[str]) -> Path:
    """Return the unpacked folder that holds what the archive should bring."""
    around = [path for path in scratch.iterdir() if path.is_dir()]
    for folder in (scratch, *around):
        if all((folder / name).exists() for name in holds):
            return folder
    wanting = ", ".join(name for name in holds if not any((folder / name).exists() for folder in (scratch, *around)))
    raise UserError(f"{archive} does not hold {wanting or 'its files in one folder'}, so it is not what was published.")
