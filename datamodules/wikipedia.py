"""Wikipedia (Rasiwasia et al., ACM MM 2010): 2,866 sections of articles with their pictures, ten classes."""

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import LABELLED_PAIRS
from cmr_lightning.ranges import Name
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_data import ListedData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.committed_splits import check_labels, read_rows
from datamodules.reading.listing import Listing
from datamodules.reading.published_files import feature_rows, find, read_lines, read_mat

Half = Literal["train", "test"]
"""What the published files are cut into."""

_LISTS: dict[Half, tuple[str, int]] = {
    "train": ("trainset_txt_img_cat.list", 2173),
    "test": ("testset_txt_img_cat.list", 693),
}
_FEATURES, _TFIDF = "raw_features.mat", "raw_features_with_tfidf.mat"
_FACTS = Facts(
    name="wikipedia",
    title="Wikipedia (Rasiwasia et al., ACM MM 2010): 2,866 pairs of 10 classes",
    level="class",
    terms="The page states no licence that we know of; articles and pictures come from Wikipedia, where each has a "
    "licence of its own.",
    origins=(
        Origin(
            ("categories.list", *(name for name, _ in _LISTS.values()), _FEATURES, "images", "texts"),
            "unpack wikipedia_dataset.zip from the cross-modal page of SVCL (svcl.ucsd.edu/projects/crossmodal)",
            file="wikipedia_dataset.zip",
            # the name of the archive behind the address of its page; its checksum is unknown
            url="https://svcl.ucsd.edu/projects/crossmodal/wikipedia_dataset.zip",
        ),
        Origin(
            (_TFIDF,),
            "put the raw_features.mat with a thousand tf-idf words, from the folder data of the public code "
            "azrealwang/sph, under this name",
        ),
    ),
    optional={"images": "pictures", "texts": "articles", _TFIDF: "text: tfidf"},
    sha256={_LISTS["train"][0]: "30c1ba8afbe90da5986de9b12496b6dd2e4680d3876b79ab7aae2e437d5819a3"},
    counts={"train": Counts(1956, 1956), "val": Counts(217, 217), "test": Counts(693, 693)},
    remark="validation carved from 2,173 / 693; or 2,173 / 231 / 462",
)
_ARCHIVE = _FACTS.source(_FEATURES)
_SUFFIXES: dict[Half, str] = {"train": "tr", "test": "te"}
_FIRST = 231
_IMAGE_SIZE = 128


class _TextForm(NamedTuple):
    file: str
    key: str
    size: int
    source: str
    words: str


_TEXTS = {
    "lda": _TextForm(_FEATURES, "T", 10, _ARCHIVE, "10 LDA topic probabilities"),
    "tfidf": _TextForm(_TFIDF, "T_tfidf", 1000, _FACTS.source(_TFIDF), "tf-idf of 1000 words"),
}
_SPLIT_NAMES = {
    "official": "official 2173/693, 217 of the 2173 carved for validation",
    "official-all": "official 2173/693, the 217 validation rows trained on too",
    "231/462": "2173/231/462, validation on the first 231 test rows",
}


class _Row(NamedTuple):
    """A line of a list file; the label counts from 0."""

    text_id: str
    image_id: str
    label: int


class Wikipedia(ListedData):
    """Wikipedia with its published features, or with its pictures and articles.

    The folder has the content of `wikipedia_dataset.zip`. Under the published features, pictures and articles are for
    people to look at and may be missing:

        <root>/categories.list
        <root>/{trainset,testset}_txt_img_cat.list
        <root>/raw_features.mat
        <root>/raw_features_with_tfidf.mat        for text: tfidf
        <root>/images/[<category>/]<image_id>.jpg
        <root>/texts/<text_id>.xml

    Source, terms, counts and known faults: `datamodules/cards/wikipedia.md`.

    Args:
        root: Folder of the published files.
        image: What image encoders are fed with: `sift`, the published histograms of 128 visual words, or any input
            made of the pictures.
        text: What text encoders are fed with: published features, `lda`, 10 topic probabilities, or `tfidf`, 1,000
            word weights; or any input made of the articles.
        split: `official` holds 217 of the 2,173 training rows out for validation, by class, so 1,956 are trained on.
            `official-all` trains on all 2,173, as published baselines do; its validation part is the same 217 rows,
            by then seen, so only methods that choose nothing on validation, such as CCA, may be measured on it.
            `231/462` trains on all 2,173, validates on the first 231 test rows and tests on the other 462.
        **kwargs: Options of `CrossModalData`.
    """

    facts = _FACTS
    classes = ("art", "biology", "geography", "history", "literature", "media", "music", "royalty", "sport", "warfare")
    protocols = LABELLED_PAIRS

    def __init__(
        self,
        root: Name,
        image: Literal["sift"] | ImageInput = "sift",
        text: Literal["lda", "tfidf"] | TextInput = "lda",
        split: Literal["official", "official-all", "231/462"] = "official",
        **kwargs: Any,
    ) -> None:
        published = _Published(Path(root).expanduser(), self.classes)
        form = _TEXTS[text] if isinstance(text, str) else _TEXTS["lda"]
        super().__init__(
            root,
            _Histograms(published, form) if image == "sift" else image,
            _PublishedTexts(published, form) if isinstance(text, str) else text,
            **kwargs,
        )
        self._published = published
        self._split = split

    @property
    def split_name(self) -> str:
        """Sizes of the parts, and where the validation part comes from."""
        return _SPLIT_NAMES[self._split]

    def image_name(self, picture: str) -> str:
        """Return the image id."""
        return Path(picture).stem

    def list_part(self, part: PartName) -> Listing:
        """List one part in the order of the published list files.

        Raises:
            UserError: If a file is missing or is not what was published.
        """
        self._check_categories()
        lines = self._published.lines(self._half(part))
        listed = [lines[row] for row in self._rows(part)]
        return Listing(
            pictures=tuple(self._pictures.get(row.image_id, f"images/{row.image_id}.jpg") for row in listed),
            label=torch.tensor([row.label for row in listed]),
            captions=tuple(self._article(row.text_id) for row in listed),
            owner=torch.arange(len(listed)),
        )

    def _half(self, part: PartName) -> Half:
        """Return the published half that a part is cut from."""
        if part == "val":
            return "test" if self._split == "231/462" else "train"
        return part

    def _rows(self, part: PartName) -> Sequence[int]:
        """Return the rows of a part in its published half."""
        count = _LISTS[self._half(part)][1]
        if self._split == "231/462":
            return {"train": range(count), "val": range(_FIRST), "test": range(_FIRST, count)}[part]
        if part == "test" or (part == "train" and self._split == "official-all"):
            return range(count)
        carved = read_rows("wikipedia_validation")
        return carved if part == "val" else sorted(set(range(count)) - set(carved))

    def _check_categories(self) -> None:
        path = find(self.root, "categories.list", _ARCHIVE)
        found = read_lines(path, len(self.classes), _ARCHIVE)
        if tuple(name.strip() for name in found) != self.classes:
            raise UserError(f"{path} should name {', '.join(self.classes)} and names {', '.join(found)}; {_ARCHIVE}.")

    def _article(self, text_id: str) -> str:
        """Read the text section; empty where the article is not there and only published features of it are used.

        It is what stands between two tags: an XML parser would refuse articles with unescaped ampersands.
        """
        path = self.root / "texts" / f"{text_id}.xml"
        if not path.is_file():
            if self.text.reads_captions:
                raise UserError(f"{path} is missing; {_ARCHIVE}.")
            return ""
        content = path.read_text(encoding="utf-8", errors="replace")
        found = re.search("<text>(.*)</text>", content, re.DOTALL)
        return " ".join((found[1] if found else content).split())

    @cached_property
    def _pictures(self) -> dict[str, str]:
        """JPEG of each image id, relative to the root, wherever it lies under `images`."""
        files = sorted((self.root / "images").rglob("*.jpg"))
        return {path.stem: path.relative_to(self.root).as_posix() for path in files}


class _Published:
    """The published list files and the arrays whose rows follow them."""

    def __init__(self, root: Path, classes: Sequence[str]) -> None:
        self.root = root
        self.classes = classes
        self._lines: dict[Half, list[_Row]] = {}

    def lines(self, half: Half) -> list[_Row]:
        """Return all lines of a list file, read on first use."""
        if half not in self._lines:
            self._lines[half] = self._read(half)
        return self._lines[half]

    def features(self, pictures: Sequence[str], form: _TextForm, key: str, size: int) -> Tensor:
        """Return the rows of the array `key` in the file of `form`, `(M, size)`, for pictures of one half."""
        ids = [Path(picture).stem for picture in pictures]
        half: Half = "train" if any(row.image_id == ids[0] for row in self.lines("train")) else "test"
        numbers = {row.image_id: number for number, row in enumerate(self.lines(half))}
        path = find(self.root, form.file, form.source)
        name = f"{key}_{_SUFFIXES[half]}"
        array = read_mat(path, name, (_LISTS[half][1], size), form.source)
        return feature_rows(array, [numbers[image_id] for image_id in ids], f"{path}: {name}", form.source)

    def _read(self, half: Half) -> list[_Row]:
        name, count = _LISTS[half]
        path = find(self.root, name, _ARCHIVE)
        lines = [line.split("\t") for line in read_lines(path, count, _ARCHIVE)]
        labels = {str(number) for number in range(1, len(self.classes) + 1)}
        for number, line in enumerate(lines, 1):
            if len(line) != 3 or line[2] not in labels:
                raise UserError(
                    f"{path}, line {number}: expected a text id, an image id and a label from 1 to "
                    f"{len(self.classes)}, separated by tabs, and found {' '.join(line)!r}; {_ARCHIVE}."
                )
        rows = [_Row(text_id, image_id, int(label) - 1) for text_id, image_id, label in lines]
        check_labels("wikipedia_labels", half, [row.label for row in rows], self.classes, path)
        return rows


class _Histograms(ImageInput):
    """The published histograms, which need no picture."""

    def __init__(self, published: _Published, form: _TextForm) -> None:
        self.published = published
        self.form = form

    def description(self, root: Path) -> str:
        return "128-bin SIFT histograms"

    def usable(self, root: Path, pictures: Sequence[str]) -> Tensor:
        return torch.ones(len(pictures), dtype=torch.bool)

    def content(self, root: Path, pictures: Sequence[str], training: bool) -> Tensor:
        """Return histograms `(M, 128)`, float32."""
        return self.published.features(pictures, self.form, "I", _IMAGE_SIZE)


class _PublishedTexts(TextInput):
    """The published features of the texts, which need no article."""

    reads_captions = False

    def __init__(self, published: _Published, form: _TextForm) -> None:
        self.published = published
        self.form = form

    @property
    def description(self) -> str:
        return f"{self.form.words} ({self.form.file})"

    def content(self, listing: Listing) -> Tensor:
        """Return feature vectors `(P, 10)` or `(P, 1000)`, float32; every picture has one text."""
        return self.published.features(listing.pictures, self.form, self.form.key, self.form.size)
