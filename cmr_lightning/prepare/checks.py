"""What a data set's files must be, declared once for each data set and checked against a folder."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

CHUNK = 1 << 20
"""Bytes read from a file at once."""

ANYWHERE = "pictures"
"""What a finding calls files that may lie in any folder of the root."""


class MismatchError(Exception):
    """A file is there, but is not what was published; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Finding:
    """What a check found out.

    Attributes:
        path: File or folder, relative to the root.
        state: `ok`, `missing`, or `wrong` if it is there and is not what was published.
        sentence: What was found, in words.
        counts: What was counted, by what it is.
        missing: Files that a list names and that are not there.
        only_for: What alone needs it; empty if the data set is not whole without it.
    """

    path: str
    state: Literal["ok", "missing", "wrong"]
    sentence: str
    counts: Mapping[str, int] = field(default_factory=dict)
    missing: Sequence[str] = ()
    only_for: str = ""

    @property
    def fault(self) -> bool:
        """Whether the data set is not whole; what is there and wrong is a fault even where it need not be there."""
        return self.state == "wrong" or (self.state == "missing" and not self.only_for)


@dataclass(frozen=True)
class Counts:
    """How much of a JSON file belongs to one group.

    Attributes:
        items: Number of entries.
        texts: Number of their texts.
        people: Number of different people among them.
    """

    items: int
    texts: int | None = None
    people: int | None = None


@dataclass(frozen=True)
class Check(ABC):
    """One file or folder, and what is known about it.

    Attributes:
        path: Where it is, relative to the root.
        only_for: What alone needs it; empty if the data set is not whole without it.
    """

    path: str
    _: KW_ONLY
    only_for: str = ""

    def check(self, root: Path) -> list[Finding]:
        """Look at it and say what was found, at least one sentence."""
        if not (root / self.path).exists():
            return [self._missing()]
        return [self._finding(lambda: self.describe(root))]

    @abstractmethod
    def describe(self, root: Path) -> dict[str, int]:
        """Count what is there.

        Raises:
            MismatchError: If it is not what was published.
        """

    def _finding(self, describe: Callable[[], dict[str, int]]) -> Finding:
        try:
            counts = describe()
        except MismatchError as error:
            return Finding(self.path, "wrong", str(error), only_for=self.only_for)
        except OSError as error:
            return Finding(self.path, "wrong", f"cannot be read ({error.strerror})", only_for=self.only_for)
        return Finding(self.path, "ok", in_words(counts), counts, only_for=self.only_for)

    def _missing(self) -> Finding:
        return Finding(self.path, "missing", "missing", only_for=self.only_for)


@dataclass(frozen=True)
class File(Check):
    """A file that is not empty.

    Attributes:
        sha256: Its checksum; empty if it is unknown.
    """

    _: KW_ONLY
    sha256: str = ""

    def describe(self, root: Path) -> dict[str, int]:
        """Count its bytes, and compare its checksum."""
        path = root / self.path
        if not path.is_file():
            raise MismatchError("is a folder, expected a file")
        if path.stat().st_size == 0:
            raise MismatchError("is empty")
        if self.sha256 and (found := sha256_of(path)) != self.sha256:
            raise MismatchError(f"has the SHA-256 {found}, expected {self.sha256}")
        return {"bytes": path.stat().st_size}


@dataclass(frozen=True)
class LinesFile(File):
    """A text file with a known number of lines.

    Attributes:
        lines: Number of lines that are not blank.
        suffix: Ending of the lines that count, if others occur in published copies.
    """

    lines: int
    _: KW_ONLY
    suffix: str = ""

    def describe(self, root: Path) -> dict[str, int]:
        """Count its lines."""
        super().describe(root)
        found = sum(1 for _ in published_lines(root / self.path, self.suffix))
        if found != self.lines:
            raise MismatchError(f"has {found:,} lines, expected {self.lines:,}")
        return {"lines": found}


@dataclass(frozen=True)
class ArrayFile(File):
    """A `.mat` file; of its arrays only the headers are read.

    Attributes:
        shapes: Shape of each array by its name.
    """

    shapes: Mapping[str, tuple[int, ...]]

    def describe(self, root: Path) -> dict[str, int]:
        """Compare the shapes of its arrays, and count their rows."""
        super().describe(root)
        found = _shapes(root / self.path)
        for name, shape in self.shapes.items():
            if name not in found:
                raise MismatchError(f"has no array {name}, only {', '.join(found) or 'none'}")
            if found[name] != shape:
                raise MismatchError(f"array {name} is {_by(found[name])}, expected {_by(shape)}")
        return {f"rows of {name}": shape[0] for name, shape in self.shapes.items()}


@dataclass(frozen=True)
class JsonFile(File):
    """A JSON file that lists a data set's images, and the images that it lists; packed by gzip, with `.gz` behind its
    name, it is as good.

    Attributes:
        groups: How much belongs to each group, by its name.
        group_by: Key of an entry that names its group.
        texts_in: Key of an entry that holds its texts.
        key: Key under which the file holds its entries; empty if the file itself is the list, or the mapping.
        people_in: Key of an entry that says who is to be seen.
        images: Path of an entry's image, with keys of the entry in braces; in a file that maps names to entries,
            `{name}` is the name. Empty if images are not looked for.
        folder: Folder that holds the images at any depth.
        by_name: Whether an image may lie in any folder below `folder`, so that its name alone must be right.
    """

    groups: Mapping[str, Counts]
    _: KW_ONLY
    group_by: str
    texts_in: str
    key: str = ""
    people_in: str = ""
    images: str = ""
    folder: str = "."
    by_name: bool = False

    def check(self, root: Path) -> list[Finding]:
        """Compare the counts, and look for every image that is listed, however many are."""
        packed = f"{self.path}.gz"
        if not (root / self.path).exists() and (root / packed).is_file():
            return replace(self, path=packed).check(root)
        if not (root / self.path).exists():
            return [self._missing()]
        try:
            entries = self._entries(root)
            names = [self.images.format_map(entry) for entry in entries]
        except MismatchError as error:
            return [replace(self._missing(), state="wrong", sentence=str(error))]
        except KeyError as error:
            return [replace(self._missing(), state="wrong", sentence=f"has entries without {error}")]
        finding = self._finding(lambda: self._counts(entries))
        if not self.images:
            return [finding]
        return [finding, look_for(names, root, self.folder, self.only_for, by_name=self.by_name)]

    def describe(self, root: Path) -> dict[str, int]:
        """Count entries, texts and people by group."""
        return self._counts(self._entries(root))

    def _entries(self, root: Path) -> list[dict[str, Any]]:
        super().describe(root)
        try:
            content = (root / self.path).read_bytes()
            listed = json.loads(gzip.decompress(content) if self.path.endswith(".gz") else content)
        except (OSError, EOFError, zlib.error, ValueError) as error:
            raise MismatchError(f"cannot be read as JSON ({error})") from error
        if self.key:
            listed = listed.get(self.key) if isinstance(listed, dict) else None
        if isinstance(listed, dict):
            listed = [{**entry, "name": name} for name, entry in listed.items() if isinstance(entry, dict)]
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise MismatchError(f"does not hold a list of images{f' under {self.key}' if self.key else ''}")
        return listed

    def _counts(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
        members: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
        try:
            for entry in entries:
                members[entry[self.group_by]].append(entry)
            found = {name: self._group(group) for name, group in members.items()}
        except (KeyError, TypeError) as error:
            raise MismatchError(f"is not in the published form ({type(error).__name__}: {error})") from error
        faults = [
            f"{what} of {name} are {number:,}, expected {expected:,}"
            for name in [*self.groups, *sorted(set(found) - set(self.groups))]
            for what, number, expected in _differences(found.get(name), self.groups.get(name))
        ]
        if faults:
            raise MismatchError(f"lists {len(entries):,} images: {'; '.join(faults)}")
        counts = {"images": len(entries)}
        for name, group in self.groups.items():
            counts |= {f"{what} of {name}": number for what, number in _measures(group)}
        return counts

    def _group(self, members: Sequence[Mapping[str, Any]]) -> Counts:
        return Counts(
            len(members),
            sum(len(entry[self.texts_in]) for entry in members),
            len({entry[self.people_in] for entry in members}) if self.people_in else None,
        )


@dataclass(frozen=True)
class JsonList(File):
    """A JSON file that is a list, of entries of any kind or of the names of images, and these images.

    Attributes:
        entries: Number of entries.
        images: Paths that an image may have, where `{}` is an entry; empty if the entries are no names.
        folder: Folder that holds the images at any depth.
    """

    entries: int
    _: KW_ONLY
    images: tuple[str, ...] = ()
    folder: str = "."

    def check(self, root: Path) -> list[Finding]:
        """Count the entries, and look for every image that is listed."""
        found = super().check(root)
        if not self.images or found[0].state != "ok":
            return found
        possible = [[path.format(name) for path in self.images] for name in self._entries(root)]
        names = [next((path for path in paths if _size(root / path)), paths[0]) for paths in possible]
        return [*found, look_for(names, root, self.folder, self.only_for)]

    def describe(self, root: Path) -> dict[str, int]:
        """Count its entries."""
        found = len(self._entries(root))
        if found != self.entries:
            raise MismatchError(f"lists {found:,} entries, expected {self.entries:,}")
        return {"entries": found}

    def _entries(self, root: Path) -> list[Any]:
        super().describe(root)
        try:
            listed = json.loads((root / self.path).read_bytes())
        except ValueError as error:
            raise MismatchError(f"cannot be read as JSON ({error})") from error
        if not isinstance(listed, list):
            raise MismatchError("does not hold a list")
        return listed


@dataclass(frozen=True)
class Folder(Check):
    """A folder of files.

    Attributes:
        files: Number of files; None where it is unknown, and one will do.
        pattern: What their names look like; `**/` before it means at any depth.
        lines: Number of lines that are not blank in each of them; None where they are not lists.
    """

    files: int | None
    pattern: str
    _: KW_ONLY
    lines: int | None = None

    def describe(self, root: Path) -> dict[str, int]:
        """Count its files, and the lines of each."""
        paths = sorted(path for path in (root / self.path).glob(self.pattern) if path.stat().st_size)
        if len(paths) != self.files and (self.files is not None or not paths):
            expected = "some" if self.files is None else f"{self.files:,}"
            raise MismatchError(f"holds {len(paths):,} files {self.pattern} that are not empty, expected {expected}")
        if self.lines is None:
            return {"files": len(paths)}
        for path in paths:
            found = sum(1 for _ in published_lines(path))
            if found != self.lines:
                name = path.relative_to(root / self.path)
                raise MismatchError(f"{name} has {found:,} lines, expected {self.lines:,}")
        return {f"files {self.pattern}": len(paths), "lines in each": self.lines}


@dataclass(frozen=True)
class ListedFiles(Check):
    """The pictures, or articles, that list files name, at any depth below a folder.

    Attributes:
        lists: The list files, relative to the root.
        name: A file's path, where `{0}`, `{1}`, ... are the tab-separated columns of a line, with forward slashes.
        suffix: Ending of the lines that count, if others occur in published copies.
        by_name: Whether a file may lie in any folder below `path`, so that its name alone must be right.
    """

    lists: tuple[str, ...]
    name: str
    _: KW_ONLY
    suffix: str = ""
    by_name: bool = False

    def check(self, root: Path) -> list[Finding]:
        """Look for every file that is listed; without the lists, for nothing."""
        absent = [name for name in self.lists if not (root / name).is_file()]
        if absent:
            return [replace(self._missing(), sentence=f"cannot be checked without {', '.join(absent)}")]
        try:
            names = self._names(root)
        except (IndexError, UnicodeDecodeError) as error:
            sentence = f"cannot be checked, since {' or '.join(self.lists)} is not in the published form ({error})"
            return [replace(self._missing(), state="wrong", sentence=sentence)]
        return [look_for(names, root, self.path, self.only_for, by_name=self.by_name)]

    def describe(self, root: Path) -> dict[str, int]:
        """Count the files that are listed and there."""
        return dict(self.check(root)[0].counts)

    def _names(self, root: Path) -> list[str]:
        lines = [line for name in self.lists for line in published_lines(root / name, self.suffix)]
        return sorted({self.name.format(*line.decode().replace("\\", "/").split("\t")) for line in lines})


def look_for(names: Sequence[str], root: Path, folder: str, only_for: str, *, by_name: bool = False) -> Finding:
    """Look for files that a list names; an empty file is a missing one.

    Args:
        names: Their paths relative to the root, with forward slashes.
        root: Folder of the data set.
        folder: Folder in it that holds them, at any depth; `.` for the root.
        only_for: What alone needs them.
        by_name: Whether a file may lie in any folder, so that its name alone must be right.
    """
    there = set(_files(root / folder, root))
    if by_name:
        there = {PurePosixPath(path).name for path in there}
    missing = [name for name in names if (PurePosixPath(name).name if by_name else name) not in there]
    where = ANYWHERE if folder == "." else f"{folder}/"
    counts = {"files": len(names) - len(missing)}
    if not missing:
        return Finding(where, "ok", f"all {len(names):,} files that are listed", counts, only_for=only_for)
    sentence = f"{len(missing):,} of the {len(names):,} files that are listed are missing or empty"
    return Finding(where, "missing", sentence, counts, missing, only_for)


def in_words(counts: Mapping[str, int]) -> str:
    """Counts as a phrase."""
    return ", ".join(f"{number:,} {what}" for what, number in counts.items())


def sha256_of(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def published_lines(path: Path, suffix: str = "") -> Iterable[bytes]:
    """Lines that are not blank, without what surrounds them, and of these only those with an ending."""
    with path.open("rb") as file:
        yield from (line for line in map(bytes.strip, file) if line and line.endswith(suffix.encode()))


def _files(folder: Path, root: Path) -> Iterable[str]:
    """Files at or below a folder that are not empty, relative to the root, with forward slashes."""
    for parent, _, names in os.walk(folder):
        inside = Path(parent).relative_to(root).as_posix()
        prefix = "" if inside == "." else f"{inside}/"
        yield from (f"{prefix}{name}" for name in names if _size(Path(parent, name)))


def _size(path: Path) -> int:
    """Bytes of a file, 0 for a link that leads nowhere."""
    return path.stat().st_size if path.exists() else 0


def _measures(counts: Counts) -> list[tuple[str, int]]:
    measures = [("images", counts.items), ("texts", counts.texts), ("people", counts.people)]
    return [(what, number) for what, number in measures if number is not None]


def _differences(found: Counts | None, expected: Counts | None) -> Iterable[tuple[str, int, int]]:
    """What was counted, how much was found, how much was expected, where the two differ."""
    numbers = dict(_measures(found)) if found else {}
    for what, wanted in _measures(expected or Counts(0)):
        if numbers.get(what, 0) != wanted:
            yield what, numbers.get(what, 0), wanted


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each array by its name; SciPy is imported only here, so that the command starts at once."""
    from scipy.io import whosmat

    try:
        return {name: tuple(shape) for name, shape, _ in whosmat(path)}
    except Exception as error:  # a damaged file makes the reader fail in ways of its own
        raise MismatchError(f"cannot be read as a MATLAB file ({type(error).__name__}: {error})") from error
