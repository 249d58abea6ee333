"""Fashion200k (Han et al., ICCV 2017, arXiv 1708.01311): pictures of a shop with descriptions that differ by a word."""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal, NamedTuple

import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import COMPOSED_CAPTION
from cmr_lightning.ranges import Name
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_compositions import ComposedListing, ListedCompositions, Query
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.committed_splits import held_out
from datamodules.reading.listing import Listing
from datamodules.reading.published_files import find

ParentRule = Literal["substring", "word"]
_QUERIES = "test_queries.txt"
_FACTS = Facts(
    name="fashion200k",
    title="Fashion200k (Han et al., ICCV 2017): about 200,000 pictures of garments with their descriptions",
    level="composed",
    terms="The repository of the data set is under Apache-2.0; the pictures were taken from the pages of a shop, and "
    "the rights in them stay open. Never fetched.",
    origins=(
        Origin(
            ("labels", "women"),
            "follow the links of the repository xthan/fashion-200k to the labels and to women.tar.gz, the cropped "
            "pictures, and unpack both",
        ),
        Origin(
            (_QUERIES,), "put the test queries of TIRG (storage.googleapis.com/image_retrieval_css/test_queries.txt)"
        ),
    ),
    counts={"test": Counts(texts=33_480)},
    remark="in the published test part, a tenth of the training products held out for validation",
)
_LABELS_SOURCE = _FACTS.source("labels")
_QUERIES_SOURCE = _FACTS.source(_QUERIES)
_MARKS = {".": "dotmark", "?": "questionmark", "&": "andmark", "*": "starmark"}
_FILE = re.compile(r"(?P<category>.+)_(?:train|test)_detect_all\.txt")


class Fashion200k(ListedCompositions):
    """Fashion200k: which picture shows the garment with one word of its description replaced.

        <root>/labels/<category>_{train,test}_detect_all.txt   picture <tab> detection score <tab> description
        <root>/women/<folders>/<product>/<product>_<k>.jpeg    as the label files name them
        <root>/test_queries.txt                                source picture, target picture

    Queries are those of TIRG (Vo et al., CVPR 2019, arXiv 1812.07119). Two descriptions are siblings if they become the
    same, their parent, by losing a word. In each epoch every training picture asks for a picture of a random sibling by
    `replace <a> with <b>`; one without siblings gives its place to another. Test queries are a published list. A
    picture is right if its description is that of the target.

    A training and a test part are published. The training pictures of a tenth of the products, chosen by `held_out`,
    are held out for validation, each with one query that is drawn once.

    Source, terms, counts and known faults: `datamodules/cards/fashion200k.md`.

    Args:
        root: Folder of the published files.
        image: What image encoders are fed with; by default the pictures.
        text: What text encoders are fed with; by default all words.
        parents: How a description loses a word: `substring` cuts it out wherever its letters occur, as TIRG's code does
            (`top` also from `topstitched`); `word` takes out whole words alone.
        **kwargs: Options of `CrossModalData`.
    """

    facts = _FACTS
    protocols = COMPOSED_CAPTION
    split_name = "official test queries, a tenth of the training products held out"

    def __init__(
        self,
        root: Name,
        image: ImageInput | None = None,
        text: TextInput | None = None,
        parents: ParentRule = "substring",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image, text, **kwargs)
        self.parents = parents

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # the names of the files say them
        """The categories of the label files."""
        return tuple(sorted({category for category, _ in self._files("train")}))

    def list_part(self, part: PartName) -> ComposedListing:
        """List one part, pictures in the order of the label files, which are sorted by name."""
        entries = self._entries(part)
        listing = ComposedListing.make(
            pictures=[entry.picture for entry in entries],
            label=torch.tensor([self.classes.index(entry.category) for entry in entries]),
            queries=[],
            keys={"caption": [entry.caption for entry in entries]},
        )
        if part == "test":
            return listing.asking(self._test_queries(entries))
        siblings = Siblings([entry.caption for entry in entries], self.parents)
        rows = range(len(entries)) if part == "train" else siblings.modifiable
        return listing.asking(siblings.draw(rows, random.Random(0)))

    def draw(self, listing: ComposedListing, count: int, chance: random.Random) -> list[Query]:
        """Draw one query from each of `count` training pictures."""
        order = list(range(len(listing.pictures)))
        chance.shuffle(order)
        return self._siblings.draw((order * (count // len(order) + 1))[:count], chance)

    @property
    def lesson(self) -> Listing:
        """A text for every word that a training text may replace or put in."""
        words = sorted({word for entry in self._entries("train") for word in entry.caption.split()})
        texts = tuple(modification([word], [word]) for word in words)
        listing = self.listing("train")
        return Listing(listing.pictures, listing.label, texts, torch.zeros(len(texts), dtype=torch.int64))

    @cached_property
    def _siblings(self) -> "Siblings":
        captions = {entry.picture: entry.caption for entry in self._entries("train")}
        return Siblings([captions[picture] for picture in self.listing("train").pictures], self.parents)

    def _entries(self, part: PartName) -> "list[Entry]":
        if part == "test":
            return self._test_entries
        return [entry for entry in self._training_entries if in_validation(entry.picture) == (part == "val")]

    @cached_property
    def _training_entries(self) -> "list[Entry]":
        """Pictures of the published training part, validation included."""
        return read_labels(self._files("train"))

    @cached_property
    def _test_entries(self) -> "list[Entry]":
        return read_labels(self._files("test"))

    def _files(self, part: Literal["train", "test"]) -> list[tuple[str, Path]]:
        """Return category and path of each label file, sorted by name."""
        folder = self.root / "labels"
        files = sorted(folder.glob(f"*_{part}_detect_all.txt"))
        if not files:
            find(self.root, f"labels/dress_{part}_detect_all.txt", _LABELS_SOURCE)
        found = [(_FILE.fullmatch(path.name), path) for path in files]
        return [(match["category"], path) for match, path in found if match]

    def _test_queries(self, entries: "Sequence[Entry]") -> list[Query]:
        path = find(self.root, _QUERIES, _QUERIES_SOURCE)
        rows = {entry.picture: row for row, entry in enumerate(entries)}
        queries = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            pictures = line.split()
            if not pictures:
                continue
            unknown = [picture for picture in pictures if picture not in rows]
            if len(pictures) != 2 or unknown:
                what = f"no label file of the test part lists {unknown[0]}" if unknown else f"found {line[:60]!r}"
                raise UserError(f"{path}, line {number}: expected two test pictures, but {what}; {_QUERIES_SOURCE}.")
            source, target = (rows[picture] for picture in pictures)
            text = modification(entries[source].caption.split(), entries[target].caption.split())
            queries.append(Query(source, text, target))
        return queries


class Entry(NamedTuple):
    """A picture of a label file, relative to the root, with its description, marks written out."""

    picture: str
    caption: str
    category: str


def read_labels(files: Iterable[tuple[str, Path]]) -> list[Entry]:
    """Read the pictures of label files, given by category and path, in their order; a repeated line counts once.

    Raises:
        UserError: If a line is not of the published form, or a picture has two descriptions.
    """
    entries: dict[str, Entry] = {}
    for category, path in files:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError as error:
            raise UserError(f"{path} is not UTF-8 ({error}); {_LABELS_SOURCE}.") from error
        for number, line in enumerate(lines, 1):
            columns = line.split("\t")
            if len(columns) < 3 or not columns[2].strip():
                raise UserError(
                    f"{path}, line {number}: expected a picture, a score and a description between tabs, and found "
                    f"{line[:60]!r}; {_LABELS_SOURCE}."
                )
            entry = Entry(columns[0], written_out(columns[2]), category)
            known = entries.setdefault(entry.picture, entry)
            if known != entry:
                raise UserError(
                    f"{path}, line {number}: {entry.picture} is {entry.caption!r} ({category}) here and "
                    f"{known.caption!r} ({known.category}) before; keep one of the lines."
                )
    return list(entries.values())


def written_out(description: str) -> str:
    """Return a description as TIRG reads it: marks as words, no spaces around it.

    Examples:
        >>> written_out(" lace & silk ")
        'lace andmark silk'
    """
    for mark, word in _MARKS.items():
        description = description.replace(mark, word)
    return description.strip()


def in_validation(picture: str) -> bool:
    """Return whether a training picture `<product>_<k>.jpeg` is of a product that is held out for validation."""
    stem = PurePosixPath(picture).stem
    return held_out(stem.rpartition("_")[0] or stem)


def modification(source: Sequence[str], target: Sequence[str]) -> str:
    """Return the text that turns one description into another: `replace <a> with <b>`.

    a is the first source word that is not in the target, b the first target word that is not in the source; the last
    word where there is none, as in TIRG's code. Both have at least one word.

    Examples:
        >>> modification(["red", "lace", "dress"], ["blue", "lace", "dress"])
        'replace red with blue'
    """
    a = next((word for word in source if word not in target), source[-1])
    b = next((word for word in target if word not in source), target[-1])
    return f"replace {a} with {b}"


def parents_of(caption: str, rule: ParentRule) -> list[str]:
    """Return what a description becomes by losing each of its words."""
    words = caption.split()
    if rule == "word":
        return list(dict.fromkeys(" ".join(other for other in words if other != word) for word in words))
    return list(dict.fromkeys(caption.replace(word, "").replace("  ", " ").strip() for word in words))


class Siblings:
    """Descriptions that share a parent by a rule, and the pictures that they describe."""

    def __init__(self, captions: Sequence[str], rule: ParentRule) -> None:
        self.captions = captions
        self._pictures: dict[str, list[int]] = defaultdict(list)
        for row, caption in enumerate(captions):
            self._pictures[caption].append(row)
        children: dict[str, list[str]] = defaultdict(list)
        for caption in self._pictures:
            for parent in parents_of(caption, rule):
                children[parent].append(caption)
        self._children = {parent: of_parent for parent, of_parent in children.items() if len(of_parent) > 1}
        self._parents = {
            caption: [parent for parent in parents_of(caption, rule) if parent in self._children]
            for caption in self._pictures
        }
        self.modifiable = [row for row, caption in enumerate(captions) if self._parents[caption]]
        """Rows of the pictures whose descriptions have a sibling."""

    def draw(self, rows: Iterable[int], chance: random.Random) -> list[Query]:
        """Draw a query from each picture to a picture of a random sibling.

        A parent is drawn, then one of its children, both again as long as that is the picture's own description; then
        one of the child's pictures. Pictures without siblings are replaced by random ones with siblings.

        Raises:
            UserError: If no picture has a sibling.
        """
        if not self.modifiable:
            raise UserError(
                "Fashion200k: no two descriptions differ in one word, so there is nothing to ask for; check the label "
                "files."
            )
        able = set(self.modifiable)
        return [self._query(row if row in able else chance.choice(self.modifiable), chance) for row in rows]

    def _query(self, source: int, chance: random.Random) -> Query:
        own = self.captions[source]
        sibling = own
        while sibling == own:
            sibling = chance.choice(self._children[chance.choice(self._parents[own])])
        target = chance.choice(self._pictures[sibling])
        return Query(source, modification(own.split(), sibling.split()), target)
