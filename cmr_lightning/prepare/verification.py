"""Whether a data set is whole: its files are there, and the data set reads in them what its facts say."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from cmr_lightning.errors import UserError
from cmr_lightning.files.checksum import sha256_of
from datamodules.base import CrossModalData, PartName
from datamodules.facts import Counts, Facts, packed
from datamodules.families.listed_data import PARTS, ListedData
from datamodules.reading.listing import Listing


@dataclass(frozen=True)
class Finding:
    """What was found out about a file, or about a part of the data set.

    Attributes:
        subject: File or folder, relative to the root, or the part.
        state: `wrong` if it is there and is not what was published.
        sentence: What was found, in words.
        counts: What was counted, by what it is.
        missing: Pictures that are listed and not there.
        only_for: The only thing that needs it; empty if the data set is not whole without it.
    """

    subject: str
    state: Literal["ok", "missing", "wrong"]
    sentence: str
    counts: Mapping[str, int] = field(default_factory=dict)
    missing: Sequence[str] = ()
    only_for: str = ""

    @property
    def fault(self) -> bool:
        """Whether the data set is not whole; something wrong is a fault even where it may be missing."""
        return self.state == "wrong" or (self.state == "missing" and not self.only_for)


def verify(kind: type[CrossModalData], root: Path) -> list[Finding]:
    """Look for the files of a data set; if all of them are there, let the data set read them, part by part."""
    facts = kind.facts
    names = [name for origin in facts.layout(root) for name in origin.holds]
    findings = [
        _verify_file(root, name, facts) for name in names if name in facts.optional or PurePosixPath(name).suffix
    ]
    if any(finding.fault for finding in findings):
        return findings
    pictures: list[str] = []
    for part in PARTS:
        finding, listed = _verify_part(kind, root, part)
        findings.append(finding)
        pictures += listed
    for name, need in facts.optional.items():
        setting, _, value = need.partition(": ")
        if value and (root / name).exists():
            finding, _ = _verify_part(kind, root, "val", **{setting: value})
            findings += [replace(finding, subject=name)] if finding.fault else []
    return findings + _verify_pictures(root, list(dict.fromkeys(pictures)), facts)


def _verify_file(root: Path, name: str, facts: Facts) -> Finding:
    only_for = facts.optional.get(name, "")
    path = root / name if (root / name).exists() else packed(root, name)
    if not path.exists():
        return Finding(name, "missing", "missing", only_for=only_for)
    name = path.relative_to(root).as_posix()
    if path.is_dir():
        return Finding(name, "ok", "is there", only_for=only_for)
    size, expected = path.stat().st_size, facts.sha256.get(name)
    if size == 0:
        return Finding(name, "wrong", "is empty", only_for=only_for)
    if not os.access(path, os.R_OK):
        return Finding(name, "wrong", "cannot be read", only_for=only_for)
    if expected and (found := sha256_of(path)) != expected:
        return Finding(name, "wrong", f"has the SHA-256 {found}, expected {expected}", only_for=only_for)
    return Finding(name, "ok", f"{size:,} bytes", {"bytes": size}, only_for=only_for)


def _verify_part(
    kind: Callable[..., CrossModalData], root: Path, part: PartName, **settings: str
) -> tuple[Finding, Sequence[str]]:
    """Let the data set read a part, compare its size with the facts, and return the pictures that it lists."""
    try:
        data = kind(root=str(root), **settings)
        read = _listed(data, part) if isinstance(data, ListedData) else data.part(part)
    except (UserError, OSError) as error:
        return Finding(part, "wrong", str(error).partition(". `python -m cmr_lightning prepare")[0]), ()
    pictures = read.pictures if isinstance(read, Listing) else ()
    counts = Counts(len(read.label), len(read.captions), len(read.label.unique()))
    return _compared(part, counts, data.facts.counts.get(part, Counts())), pictures


def _verify_pictures(root: Path, pictures: Sequence[str], facts: Facts) -> list[Finding]:
    missing = [name for name in pictures if not ((root / name).is_file() and (root / name).stat().st_size)]
    if not missing:
        return []
    sentence = f"{len(missing):,} of the {len(pictures):,} that are listed are missing or empty"
    return [Finding("pictures", "missing", sentence, missing=missing, only_for=_need_of_pictures(facts, missing))]


def _listed(data: ListedData, part: PartName) -> Listing:
    """Return what a part lists, after reading published features that take the place of its pictures."""
    listing = data.list_part(part)
    data.check_listing(listing, part)
    if _need_of_pictures(data.facts, listing.pictures):
        data.part(part)
    elif not data.text.reads_captions:
        data.text.content(listing)
    return listing


def _compared(part: PartName, counts: Counts, expected: Counts) -> Finding:
    if expected.people is None:  # labels are people where the facts count them
        counts = counts._replace(people=None)
    differing = [n for n, m in zip(counts, expected, strict=True) if m is not None and n != m]
    sentence = counts.in_words() + (f", expected {expected.in_words()}" if differing else "")
    found = {what: number for what, number in counts._asdict().items() if number is not None}
    return Finding(part, "wrong" if differing else "ok", sentence, found)


def _need_of_pictures(facts: Facts, pictures: Sequence[str]) -> str:
    """Return the only thing that needs the pictures, by their folder; empty if the data set is not whole without."""
    return facts.optional.get(PurePosixPath(pictures[0]).parts[0], "") if pictures else ""
