"""Downloading one file: resumed where it was cut off, verified, and under its name only when it is whole.

By hand, on `urllib`: a library that resumes by range and validator would be one more dependency of the whole project.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID
from rich.progress import TimeRemainingColumn as TimeColumn
from rich.progress import TransferSpeedColumn as SpeedColumn

from cmr_lightning.errors import UserError
from cmr_lightning.files.checksum import sha256_of
from cmr_lightning.prepare.disk import AGAIN, disk_errors, require_space

CHUNK = 1 << 20
"""Bytes read from the connection at once."""
_TIMEOUT = 60.0
"""Seconds that a server may be silent."""
_ATTEMPTS = 3
"""Connections in a row that may bring nothing before the download fails."""


class _CutError(Exception):
    """The connection ended before the file did."""


class _Version(NamedTuple):
    """A version of a file: the server's ETag or date, empty if it gives none, and all its bytes, None if unknown."""

    validator: str
    size: int | None


def fetch(url: str, target: Path, size: int | None = None, sha256: str = "") -> None:
    """Download a file, resuming what an earlier call left unfinished.

    Bytes are kept as `<target>.part`, with the version that they belong to in `<target>.part.json`. They are used only
    if the server still has that version and answers ranges; else the file is downloaded from its beginning.

    Args:
        url: Address, http or https.
        target: Where the file is put once it is whole; nothing is downloaded if it is there.
        size: Bytes that the file must have; None if unknown.
        sha256: Checksum that it must have; empty if unknown.

    Raises:
        UserError: If the server cannot be reached or has no such file, if the connection is cut repeatedly, if the disk
            is full, or if the file has another size or checksum.
    """
    if not url.startswith(("http://", "https://")):
        raise UserError(f"{url} is no address of a file; it must begin with https:// or http://.")
    if target.exists():
        return
    part = target.with_name(f"{target.name}.part")
    with disk_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with Progress("{task.description}", BarColumn(), DownloadColumn(), SpeedColumn(), TimeColumn()) as bar:
            _complete(url, part, bar, bar.add_task(target.name, total=None))
        _verify(part, url, size, sha256)
        part.replace(target)
        _notes(part).unlink(missing_ok=True)


def _complete(url: str, part: Path, bar: Progress, task: TaskID) -> None:
    """Download until the file is whole, over as many connections as it takes."""
    failed = 0
    while failed < _ATTEMPTS:
        before = _size(part)
        try:
            _resume(url, part, bar, task)
        except _CutError:
            failed = 0 if _size(part) > before else failed + 1
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not before:
                name = part.name.removesuffix(".part")
                raise UserError(
                    f"The server answers {error.code} {error.reason} for {url}; try later, or look for the file with a "
                    f"browser and give its new address with --url {name}=ADDRESS."
                ) from error
            part.unlink()  # the file has become shorter than what we have of it
            failed += 1
        except urllib.error.URLError as error:
            raise UserError(f"{url} cannot be reached ({error.reason}); check the network and {AGAIN}.") from error
        else:
            return
    raise UserError(f"The connection to {url} was cut after {_size(part):,} bytes; {AGAIN}.")


def _resume(url: str, part: Path, bar: Progress, task: TaskID) -> None:
    """Download what is still missing over one connection."""
    known = _read_notes(part)
    have = _size(part) if known else 0
    if known and have == known.size:
        return
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"})
    if known and known.validator and have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", known.validator)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            resumed = response.status == http.HTTPStatus.PARTIAL_CONTENT
            if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                raise _CutError
            have = have if resumed else 0
            length = response.headers["Content-Length"]
            version = _Version(_validator(response), have + int(length) if length else None)
            require_space(part.parent, (version.size or have) - have)
            with part.open("ab" if resumed else "wb") as file:
                _notes(part).write_text(json.dumps(version._asdict()))
                bar.update(task, total=version.size, completed=have)
                while block := response.read(CHUNK):
                    file.write(block)
                    bar.advance(task, len(block))
    except (TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        raise _CutError from error
    if version.size is not None and _size(part) < version.size:
        raise _CutError


def _verify(part: Path, url: str, size: int | None, sha256: str) -> None:
    found, fault = sha256_of(part), ""
    if size is not None and _size(part) != size:
        fault = f"has {_size(part):,} bytes, expected {size:,}"
    elif sha256 and found != sha256:
        fault = f"has the SHA-256 {found}, expected {sha256}"
    if fault:
        part.unlink()
        _notes(part).unlink(missing_ok=True)
        raise UserError(f"The file from {url} {fault}, so it is not the one that was published; it was removed.")
    if not sha256:
        print(f"{part.name.removesuffix('.part')}: the published SHA-256 is unknown; this file has {found}")


def _validator(response: http.client.HTTPResponse) -> str:
    """Return what tells versions of the file apart; weak ETags do not prove that bytes are equal."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _notes(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_notes(part: Path) -> _Version | None:
    """Return the version that the bytes on disk belong to; None if there are none, or it is unknown."""
    try:
        return _Version(**json.loads(_notes(part).read_text())) if part.exists() else None
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0
