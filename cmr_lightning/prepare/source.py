"""Where a data set comes from, under which terms, and what its folder must hold."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from cmr_lightning.errors import UserError
from cmr_lightning.prepare import sources
from cmr_lightning.prepare.checks import Check


@dataclass(frozen=True)
class Download:
    """A file that may be fetched, and unpacked if it is an archive.

    Attributes:
        name: Its name; `.zip` and `.tar` archives, these also compressed, are unpacked.
        holds: Files and folders that it brings into the root; where all of them are, it is not fetched.
        page: Page on which people find it.
        terms: What the user accepts by having it fetched.
        url: Its address; empty if it is unknown, so that the user must give it.
        size: Bytes; None if unknown.
        sha256: Checksum; empty if unknown.
    """

    name: str
    holds: tuple[str, ...]
    page: str
    terms: str
    url: str = ""
    size: int | None = None
    sha256: str = ""


@dataclass(frozen=True)
class ByHand:
    """Something that is never fetched, or cannot be.

    Attributes:
        holds: Files and folders that it brings into the root.
        how: Where to get it and what to do with it, in sentences.
    """

    holds: tuple[str, ...]
    how: str


@dataclass(frozen=True)
class Layout:
    """One form in which a data set is published.

    Attributes:
        sign: File or folder that tells this form from others.
        checks: What must be there.
        by_hand: What the user must get for this form alone.
    """

    sign: str
    checks: tuple[Check, ...]
    by_hand: tuple[ByHand, ...] = ()


@dataclass(frozen=True)
class Source:
    """What `prepare` knows of a data set.

    Attributes:
        title: Name of the data set, with its paper.
        terms: Under which terms it may be used.
        layouts: Forms in which it is published, the one to recommend first.
        downloads: What may be fetched.
        by_hand: What the user must get, whatever the form.
    """

    title: str
    terms: str
    layouts: tuple[Layout, ...]
    downloads: tuple[Download, ...] = ()
    by_hand: tuple[ByHand, ...] = ()

    def layout(self, root: Path) -> Layout:
        """The form that the folder has, the first one if it has none."""
        return next((layout for layout in self.layouts if not absent(root, [layout.sign])), self.layouts[0])


def names() -> list[str]:
    """Names of all data sets: each module in `sources` is one."""
    return sorted(module.name for module in pkgutil.iter_modules(sources.__path__))


def source_of(name: str) -> Source:
    """What is known of a data set.

    Raises:
        UserError: If there is none of that name.
    """
    if name not in names():
        raise UserError(f"There is no data set {name!r} to prepare; there are {', '.join(names())}.")
    return import_module(f"{sources.__name__}.{name}").SOURCE


def absent(root: Path, holds: Sequence[str]) -> list[str]:
    """Files and folders that are not in the root; a JSON file may be there packed, with `.gz` behind its name."""
    return [name for name in holds if not any((root / form).exists() for form in _forms(name))]


def _forms(name: str) -> tuple[str, ...]:
    return (name, f"{name}.gz") if name.endswith(".json") else (name,)
