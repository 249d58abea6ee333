"""What is known of a data set before its files are read: stated once, on its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import NamedTuple

_ORIENTATIONS = {
    "stored": "as the files store them, as in the published protocols: what EXIF data say of it is not applied",
    "upright": "as the camera noted in the EXIF data",
}
"""What cards say of it; `data.image.orientation` changes it."""


class Counts(NamedTuple):
    """Size of one part of a data set as it is published; None for a number that is not known.

    Texts are queries in composed data; people are counted where they are the labels.
    """

    pictures: int | None = None
    texts: int | None = None
    people: int | None = None

    def in_words(self) -> str:
        """Return the numbers that are known as a phrase.

        Examples:
            >>> Counts(1000, 5000).in_words()
            '1,000 pictures, 5,000 texts'
        """
        return ", ".join(f"{number:,} {what}" for what, number in self._asdict().items() if number is not None)


@dataclass(frozen=True)
class Origin:
    """Where some files of a data set come from.

    Attributes:
        holds: Files and folders that it brings, relative to the data set's folder.
        how: How to get them, an instruction that is continued by "into the folder ...".
        file: Name of the one file that may be downloaded: an archive, or the only file in `holds`. Empty if the user
            has to get the files by hand.
        url: Address of `file`; empty if it is unknown, so that the user has to give it.
        size: Bytes of `file`; None if unknown.
        sha256: Checksum of `file`; empty if unknown.
        layout: Which of several published layouts the files belong to; empty if to all of them.
    """

    holds: tuple[str, ...]
    how: str
    file: str = ""
    url: str = ""
    size: int | None = None
    sha256: str = ""
    layout: str = ""


@dataclass(frozen=True)
class Facts:
    """What is known of a data set.

    Attributes:
        name: Name of the data set for `prepare`, of its folder and of its experiments' folder.
        title: Name of the data set, with its paper and its size.
        level: What is relevant to what: class, instance, composed, ...
        terms: Terms under which it may be used, in sentences.
        origins: Where its files come from; of several layouts the recommended one first.
        optional: The only thing that needs a file or folder, by its path: a setting such as `text: tfidf`, or a noun.
        sha256: Checksums of files that are known, by their paths.
        counts: Size of each part under the default settings.
        remark: What else is to be said of the parts.
        card: Name of the card; that of the data set if empty.
    """

    name: str
    title: str
    level: str
    terms: str = ""
    origins: tuple[Origin, ...] = ()
    optional: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Counts] = field(default_factory=dict)
    remark: str = ""
    card: str = ""

    def source(self, path: str) -> str:
        """Return where a file comes from and where to put it, to end an error message.

        Raises:
            KeyError: If no origin holds the file.

        Examples:
            >>> Facts("toys", "Toys", "class", origins=(Origin(("a.zip",), "get a.zip"),)).source("a.zip")
            'get a.zip into the folder given as data.root. `python -m cmr_lightning prepare toys` gets it or says how'
        """
        for origin in self.origins:
            if any(PurePosixPath(path).is_relative_to(name) for name in origin.holds):
                command = f"`python -m cmr_lightning prepare {self.name}`"
                return f"{origin.how} into the folder given as data.root. {command} gets it or says how"
        raise KeyError(path)

    def layout(self, root: Path) -> list[Origin]:
        """Return the origins of the layout that a folder has: the first one whose first file is there."""
        marked = [origin for origin in self.origins if origin.layout]
        there = [origin for origin in marked if not absent(root, origin.holds[:1])] or marked
        return [origin for origin in self.origins if not origin.layout or origin.layout == there[0].layout]

    @property
    def card_file(self) -> str:
        """The card, relative to the folder `datamodules`."""
        return f"cards/{self.card or self.name}.md"

    @property
    def parts(self) -> str:
        """Number of pictures of the three parts, in composed data of queries, and what else is to be said of them."""
        composed = self.level == "composed"
        sizes = [counts.texts if composed else counts.pictures for counts in self.counts.values()]
        known = " / ".join(f"{size:,}" for size in sizes if size) + (" queries" if composed and any(sizes) else "")
        return "; ".join(filter(None, (known, self.remark)))


def absent(root: Path, names: Sequence[str]) -> list[str]:
    """Return those files and folders that are not in a folder; a JSON file may be there packed, as `<name>.gz`."""
    return [name for name in names if not (root / name).exists() and not packed(root, name).is_file()]


def packed(root: Path, name: str) -> Path:
    """Return where the gzip of a JSON file would be; for other files, the file itself."""
    return root / (f"{name}.gz" if name.endswith(".json") else name)


def readme_table(data_sets: Mapping[str, Facts]) -> str:
    """Return the README's table of data sets, given by their class names."""
    rows = [
        f"| `{name}` | {facts.parts} | {facts.level} | [{Path(facts.card_file).stem}](datamodules/{facts.card_file}) |"
        for name, facts in data_sets.items()
    ]
    return "\n".join(["| data set | train / val / test | level | card |", "|---|---|---|---|", *rows, ""])


def card_table(name: str, facts: Facts, orientation: str = "") -> str:
    """Return the table of a data set's card, given its class name and how its picture files are seen, if it has any."""
    rows = [("data set", facts.title), ("relevance", facts.level), ("terms", facts.terms)]
    rows += [(part, counts.in_words()) for part, counts in facts.counts.items()]
    rows += [("parts", facts.remark), ("orientation of pictures", _ORIENTATIONS.get(orientation, ""))]
    rows += [(", ".join(f"`{path}`" for path in origin.holds), origin.how.rstrip(",")) for origin in facts.origins]
    rows += [(f"`{path}`", f"needed for {need} alone") for path, need in facts.optional.items()]
    lines = [f"| {what} | {text} |" for what, text in rows if text]
    return "\n".join([f"| `class_path` | `{name}` |", "|---|---|", *lines, ""])
