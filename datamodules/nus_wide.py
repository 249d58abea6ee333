"""NUS-WIDE (Chua et al., CIVR 2009): 269,648 photos of Flickr with their tags and 81 concepts."""

import hashlib
import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL
from cmr_lightning.ranges import Name
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_data import ListedData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.sparse_rows import SparseRows, dense_if_small
from datamodules.inputs.text_inputs import TextInput, WordWeights
from datamodules.reading.listing import Listing
from datamodules.reading.loaders import Part
from datamodules.reading.published_files import find

_IMAGE_LIST = "ImageList/Imagelist.txt"
_CONCEPT_LIST = "ConceptsList/Concepts81.txt"
_TAGS = "NUS_WID_Tags/All_Tags.txt"
_TAG_VECTORS = "NUS_WID_Tags/AllTags1k.txt"
_TAG_VECTOR_SIZE = 1000
_FACTS = Facts(
    name="nus_wide",
    title="NUS-WIDE (Chua et al., CIVR 2009): 269,648 photos of Flickr with their tags and 81 concepts",
    level="class, multi-label",
    terms="Lists, tags and ground truth may be downloaded; the pictures are given on request only, with a signed "
    "agreement and disclaimer form, and are never fetched.",
    origins=(
        Origin(
            (_IMAGE_LIST, _CONCEPT_LIST, _TAGS, _TAG_VECTORS, "Groundtruth"),
            "unpack the lists of concepts and images, the ground truth and the tags from the NUS-WIDE page "
            "(lms.comp.nus.edu.sg, see also the repository NExTplusplus/NUS-WIDE)",
        ),
        Origin(
            ("Flickr",),
            "request the pictures on the NUS-WIDE page (lms.comp.nus.edu.sg) with the signed form and put them, as "
            "Flickr/<folder>/<file>.jpg,",
        ),
    ),
    optional={_TAG_VECTORS: "text: tags1k"},
    counts={"train": Counts(8000, 8000), "val": Counts(1000, 1000), "test": Counts(1000, 1000)},
    remark="these of `10k`, besides `tc10` and `tc21`, all of our own selection",
)
_SOURCE = _FACTS.source(_IMAGE_LIST)
_PHOTO = re.compile(r"(?P<folder>[^\\/]+)[\\/](?P<file>\d+_(?P<id>\d+)\.jpg)")
_ALLOWED = np.isin(np.arange(256), np.frombuffer(b"01 \t\r\n", np.uint8))
_BLOCK = 2**24

TEN = ("animal", "clouds", "flowers", "food", "grass", "person", "sky", "toy", "water", "window")
"""The concepts of NUS-WIDE-10k (Feng, Wang, Li: cross-modal retrieval with correspondence autoencoder, 2014)."""

_SEED = 0
_PER_CLASS_10K = 1000
_QUERIES_PER_CLASS = 100
_TRAIN_PER_CLASS = 500
_VALIDATION = 1000

Variant = Literal["10k", "tc10", "tc21"]


class _Photo(NamedTuple):
    """A line of the image list: the file relative to the root, and the id of the photo at Flickr."""

    file: str
    id: str


class Selection(NamedTuple):
    """Lines of the image list, counted from 0, in rising order.

    In the test part queries are answered from the gallery, which is empty where all test items are both.
    """

    train: np.ndarray
    val: np.ndarray
    queries: np.ndarray
    gallery: np.ndarray


class NUSWIDE(ListedData):
    """NUS-WIDE from its published lists; the text of a photo is its tags.

        <root>/ImageList/Imagelist.txt
        <root>/ConceptsList/Concepts81.txt
        <root>/Groundtruth/AllLabels/Labels_<concept>.txt
        <root>/NUS_WID_Tags/All_Tags.txt
        <root>/NUS_WID_Tags/AllTags1k.txt         for text: tags1k
        <root>/Flickr/<folder>/<file>.jpg         for pictures, and for people to look at

    Which photos are in which part follows from these lists by a rule of this project, because the data set has no such
    parts and other authors drew their own: their numbers are over other photos. Photos without a tag are not used.

    Source, terms, rule, counts and known faults: `datamodules/cards/nus_wide.md`.

    Args:
        root: Folder of the published files.
        image: What image encoders are fed with; by default the pictures.
        text: What text encoders are fed with: the tags, separated by spaces, as a text input makes of them, by default
            the counts of the 1,000 most frequent ones; or `tags1k`, the published vectors of 1,000 tags, each 0 or 1.
        variant: `10k`: ten concepts, up to 1,000 photos of each that have no other of the ten, one label a photo;
            `tc10`, `tc21`: all photos of the 10 or 21 most frequent concepts, several labels a photo, where test
            queries are answered from all other photos.
        **kwargs: Options of `CrossModalData`.
    """

    facts = _FACTS
    protocols = CLASS_LEVEL

    def __init__(
        self,
        root: Name,
        image: ImageInput | None = None,
        text: TextInput | Literal["tags1k"] | None = None,
        variant: Variant = "10k",
        **kwargs: Any,
    ) -> None:
        if text == "tags1k":
            text = _TagVectors(Path(root).expanduser())
        text = text or WordWeights("counts", max_features=_TAG_VECTOR_SIZE)
        super().__init__(root, image, text, **kwargs)
        self.variant = variant

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # the files say which concepts are frequent
        """The ten concepts, or the most frequent ones, most frequent first."""
        if self.variant == "10k":
            return TEN
        concepts = _lines(find(self.root, _CONCEPT_LIST, _SOURCE))
        photos = {concept: int(self._concept(concept).sum()) for concept in concepts}
        return tuple(sorted(concepts, key=lambda concept: (-photos[concept], concept))[: int(self.variant[2:])])

    @property
    def split_name(self) -> str:
        """Variant and sizes of its parts, with the note that the selection is ours."""
        train, val, queries, gallery = (len(rows) for rows in self._selection)
        others = f" queries in a gallery of {gallery} others" if gallery else ""
        return f"{self.variant}, selected by our own rule: {train} train, {val} val, {queries} test{others}"

    def list_part(self, part: PartName) -> Listing:
        """List one part in the order of the image list; in a test part with a gallery, all queries come first."""
        selection = self._selection
        rows = np.concatenate([selection.queries, selection.gallery]) if part == "test" else getattr(selection, part)
        labels = torch.from_numpy(self._labels[rows])
        return Listing(
            pictures=tuple(self._photos[row].file for row in rows),
            label=labels.long().argmax(1) if self.variant == "10k" else labels.float(),
            captions=tuple(self._tags[row] for row in rows),
            owner=torch.arange(len(rows)),
        )

    def read(self, part: PartName) -> Part:
        """Read one part as encoders are fed with it, and which items of the test part are queries."""
        read = super().read(part)
        if part != "test" or not len(self._selection.gallery):
            return read
        queries = {self._photos[row].file for row in self._selection.queries}
        return replace(read, query=torch.tensor([name in queries for name in self.listing(part).pictures]))

    @cached_property
    def _photos(self) -> list[_Photo]:
        return read_photos(self.root)

    @cached_property
    def _tags(self) -> list[str]:
        """Tags of each photo, separated by spaces; empty where it has none."""
        path = find(self.root, _TAGS, _SOURCE)
        lines = [line.split() for line in _lines(path)]
        if len(lines) != len(self._photos):
            raise UserError(f"{path} has tags of {len(lines)} photos, the image list {len(self._photos)}; {_SOURCE}.")
        for row, (line, photo) in enumerate(zip(lines, self._photos, strict=True)):
            if line[0] != photo.id:
                raise UserError(
                    f"{path} is not in the order of the image list: its photo {row + 1} is {line[0]} and should be "
                    f"{photo.id}; {_SOURCE}."
                )
        return [" ".join(line[1:]) for line in lines]

    @cached_property
    def _labels(self) -> np.ndarray:
        """Classes of each photo, `(all photos, C)` bool."""
        return np.stack([self._concept(name) for name in self.classes], axis=1)

    def _concept(self, name: str) -> np.ndarray:
        """Read which photos have a concept, `(all photos,)` bool."""
        path = find(self.root, f"Groundtruth/AllLabels/Labels_{name}.txt", _SOURCE)
        ones = _ones_by_row(path, len(self._photos), 1)
        return np.diff(ones.indptr) > 0

    @cached_property
    def _selection(self) -> Selection:
        concepts = self._labels.sum(axis=1)
        labelled = concepts == 1 if self.variant == "10k" else concepts > 0
        rows: dict[str, int] = {}  # a few photos are listed twice: the first line counts
        for row in np.flatnonzero(labelled & np.array([bool(tags) for tags in self._tags])).tolist():
            rows.setdefault(self._photos[row].id, row)
        order = np.array([rows[photo] for photo in sorted(rows, key=_draw)], dtype=np.int64)
        if self.variant == "10k":
            return select_single_label(order, self._labels)
        return select_multi_label(order, self._labels, by_class=self.variant == "tc21")


class _TagVectors(TextInput):
    """The published vectors of 1,000 tags."""

    description = f"{_TAG_VECTOR_SIZE} tags, each 0 or 1 (AllTags1k.txt)"
    reads_captions = False

    def __init__(self, root: Path) -> None:
        self.root = root

    def content(self, listing: Listing) -> Tensor | SparseRows:
        """Return tag vectors `(P, 1000)`, float32, of the photo that each text belongs to."""
        rows = [self._rows[listing.pictures[owner]] for owner in listing.owner.tolist()]
        return dense_if_small(self._vectors[rows])

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {photo.file: row for row, photo in enumerate(read_photos(self.root))}

    @cached_property
    def _vectors(self) -> csr_matrix:
        return _ones_by_row(find(self.root, _TAG_VECTORS, _SOURCE), len(self._rows), _TAG_VECTOR_SIZE)


def read_photos(root: Path) -> list[_Photo]:
    r"""Read all photos in the order of the image list, which all other lists share.

    The list has Windows line ends, backslashes between folder and file, and blank lines. A file is named after its
    number in the folder and the photo's id: `actor\0001_2124494179.jpg`.

    Raises:
        UserError: If the list is missing, or a line is not of this form.
    """
    path = find(root, _IMAGE_LIST, _SOURCE)
    photos = []
    for line in _lines(path):
        found = _PHOTO.fullmatch(line)
        if not found:
            raise UserError(rf"{path} should have lines such as actor\0001_2124494179.jpg and has {line!r}; {_SOURCE}.")
        photos.append(_Photo(f"Flickr/{found['folder']}/{found['file']}", found["id"]))
    return photos


def _lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not blank; tags may hold what else Python takes for an end of a line."""
    return [line for line in map(str.strip, path.read_text(encoding="utf-8", errors="replace").split("\n")) if line]


def _draw(photo: str) -> bytes:
    """Return the key that photos are ordered by: a photo keeps its place whatever the others are."""
    return hashlib.sha256(f"{_SEED}/{photo}".encode()).digest()


def select_single_label(order: np.ndarray, labels: np.ndarray) -> Selection:
    """Select the first 1,000 photos of each class: a tenth for testing, a tenth for validation, the rest for training.

    The photos of `order`, `(N,)`, have one class each, which is in `labels`, `(all photos, C)` bool.

    Raises:
        UserError: If a class has fewer than ten photos.
    """
    parts: list[list[np.ndarray]] = [[], [], []]
    for label in range(labels.shape[1]):
        chosen = order[labels[order, label]][:_PER_CLASS_10K]
        tenth = len(chosen) // 10
        if tenth == 0:
            raise UserError(
                f"{_IMAGE_LIST} has {len(chosen)} photos with tags that have {TEN[label]} and no other of the ten "
                f"classes, but ten are needed; {_SOURCE}."
            )
        for part, rows in zip(parts, np.split(chosen, [tenth, 2 * tenth]), strict=True):
            part.append(rows)
    test, val, train = (np.sort(np.concatenate(part)) for part in parts)
    return Selection(train, val, test, gallery=np.array([], dtype=np.int64))


def select_multi_label(order: np.ndarray, labels: np.ndarray, by_class: bool) -> Selection:
    """Select queries, then from the others validation and training; the gallery is everything that is no query.

    Queries are a hundredth of all photos, or `by_class` 100 of each class, but at most a tenth of it. Validation photos
    are 1,000, but at most a tenth, of all that are no queries, training photos 500 of each class, but at most a fifth
    of it, of the rest. The photos of `order`, `(N,)`, have one class at least, in `labels`, `(all photos, C)` bool.
    """
    queries = _of_each_class(order, labels, _QUERIES_PER_CLASS, 10) if by_class else order[: len(order) // 100]
    database = order[~np.isin(order, queries)]
    val, others = np.split(database, [min(_VALIDATION, len(database) // 10)])
    train = _of_each_class(others, labels, _TRAIN_PER_CLASS, 5)
    return Selection(*(np.sort(rows) for rows in (train, val, queries, database)))


def _of_each_class(order: np.ndarray, labels: np.ndarray, number: int, share: int) -> np.ndarray:
    """Select the first photos of each class that no rarer class has taken: `number`, but at most one in `share`."""
    taken = np.zeros(len(labels), dtype=bool)
    counts = labels[order].sum(axis=0)
    for label in np.argsort(counts, kind="stable"):
        candidates = order[labels[order, label] & ~taken[order]]
        taken[candidates[: min(number, counts[label] // share)]] = True
    return order[taken[order]]


def _ones_by_row(path: Path, rows: int, columns: int) -> csr_matrix:
    """Read a text file of zeros and ones, separated by any white space, as a sparse matrix `(rows, columns)`.

    Raises:
        UserError: If a line has another number of columns, or there are other lines or other characters.
    """
    ones: list[np.ndarray] = []
    digits = 0
    with path.open("rb") as file:
        while len(block := np.fromfile(file, np.uint8, _BLOCK)):
            if not _ALLOWED[block].all():
                raise UserError(f"{path} should hold zeros and ones alone; {_SOURCE}.")
            places = np.flatnonzero(block > ord(" "))
            line_ends = np.flatnonzero(block == ord("\n"))
            if ((digits + np.searchsorted(places, line_ends)) % columns).any():
                raise UserError(f"{path} should have {columns} columns in each line; {_SOURCE}.")
            ones.append(digits + np.flatnonzero(block[places] == ord("1")))
            digits += len(places)
    if digits != rows * columns:
        raise UserError(
            f"{path} should have {rows} lines of {columns} numbers, as the image list has photos, and has {digits} "
            f"numbers; {_SOURCE}."
        )
    found = np.concatenate(ones)
    starts = np.searchsorted(found, np.arange(rows + 1) * columns)
    return csr_matrix((np.ones(len(found), np.float32), found % columns, starts), shape=(rows, columns))
