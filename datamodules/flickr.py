"""Flickr8k (Hodosh, Young, Hockenmaier, JAIR 2013) and Flickr30k (Young et al., TACL 2014): five captions a picture."""

from collections import Counter, defaultdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Count, Name
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.karpathy import Entry, KarpathyData, json_origin
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.published_files import find

_LISTS: dict[PartName, str] = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
_TOKENS = "Flickr8k.token.txt"
_JUDGEMENTS = ("ExpertAnnotations.txt", "CrowdFlowerAnnotations.txt")
_FLICKR8K = Facts(
    name="flickr8k",
    title="Flickr8k (Hodosh, Young, Hockenmaier, JAIR 2013): 8,000 pictures with five captions each",
    level="instance",
    terms="Given on request by a form of the University of Illinois; the photographs are under Flickr's terms, for "
    "research use. Never fetched.",
    origins=(
        json_origin("dataset_flickr8k.json", layout="Karpathy"),
        Origin(
            (_TOKENS, *_LISTS.values(), *_JUDGEMENTS),
            "request the data set from the University of Illinois and unpack Flickr8k_text.zip",
            layout="tokens",
        ),
        Origin(
            ("Flicker8k_Dataset",),
            "request the data set from the University of Illinois and unpack Flickr8k_Dataset.zip, whose folder may "
            "have any name,",
        ),
    ),
    optional=dict.fromkeys(_JUDGEMENTS, "people's judgements"),
    counts={"train": Counts(6000, 30_000), "val": Counts(1000, 5000), "test": Counts(1000, 5000)},
    remark="or, by `pictures: first-1000`, 753 / 113 / 125, the published parts of the first 1,000 file names",
)
_FLICKR30K = Facts(
    name="flickr30k",
    title="Flickr30k (Young et al., TACL 2014): 31,014 pictures with five captions each",
    level="instance",
    terms="Given on request by a form of the University of Illinois; Flickr's terms of use, non-commercial research "
    "and education only, copyright stays with the photographers. Never fetched.",
    origins=(
        json_origin("dataset_flickr30k.json"),
        Origin(
            ("flickr30k-images",),
            "request the pictures from the University of Illinois and put them, as flickr30k-images/<id>.jpg,",
        ),
    ),
    counts={"train": Counts(29_000, 145_000), "val": Counts(1014, 5070), "test": Counts(1000, 5000)},
)
_TEXT_SOURCE = _FLICKR8K.source(_TOKENS)

LAST_OF_FIRST_1000 = "2098418613_85a0c9afea.jpg"
"""The 1,000th of the 8,092 file names of Flickr8k that have captions, in their order as text."""


class Flickr8k(KarpathyData):
    """Flickr8k: 8,000 pictures of people and dogs, five captions each.

        <root>/Flicker8k_Dataset/<file>.jpg           or any other folder under the root
        <root>/dataset_flickr8k.json                  Karpathy's form, or dataset_flickr8k.json.gz; else both of
        <root>/Flickr8k.token.txt                     <file>.jpg#<0-4> <tab> caption
        <root>/Flickr_8k.{train,dev,test}Images.txt   file names

    Source, terms, counts and known faults: `datamodules/cards/flickr8k.md`.

    Args:
        pictures: `first-1000` keeps those of the first 1,000 pictures, in the order of their file names, in the
            published parts that they are in. Its split has another name and checksum than that of `all`, so that its
            numbers, of another gallery, never stand beside those.

    The other arguments are those of `KarpathyData`.
    """

    facts = _FLICKR8K

    def __init__(
        self,
        root: Name,
        pictures: Literal["all", "first-1000"] = "all",
        image: ImageInput | None = None,
        text: TextInput | None = None,
        captions_per_image: Count | None = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image, text, captions_per_image, **kwargs)
        self.pictures = pictures

    def entries(self) -> list[Entry]:
        """Read Karpathy's file, or the token file where only that is there, and keep the chosen pictures."""
        in_tokens = self.facts.layout(self.root)[0].holds[0] == _TOKENS
        entries = read_token_file(self.root) if in_tokens else super().entries()
        return [entry for entry in entries if self.pictures == "all" or _among_first(entry)]

    @property
    def split_name(self) -> str:
        """What is chosen of the pictures, if not all are, and the number of each part."""
        chosen = "" if self.pictures == "all" else "first 1000 of 8092 pictures by file name, "
        return f"{chosen}{super().split_name}"

    def path(self, picture: str) -> str:
        """Return the file in the folder that holds most of the pictures."""
        return f"{self._folder}/{picture}"

    def image_name(self, picture: str) -> str:
        """Return the file name: the folder may have any name."""
        return Path(picture).name

    @cached_property
    def _folder(self) -> str:
        known = {entry.picture for entries in self._by_part.values() for entry in entries}
        folders = Counter(file.parent for file in sorted(self.root.rglob("*.jpg")) if file.name in known)
        if not folders:
            return "Flicker8k_Dataset"
        return folders.most_common(1)[0][0].relative_to(self.root).as_posix()


class Flickr30k(KarpathyData):
    """Flickr30k: 31,014 pictures of people and animals, five captions each.

        <root>/flickr30k-images/<id>.jpg
        <root>/dataset_flickr30k.json       Karpathy's form and split, or dataset_flickr30k.json.gz

    Source, terms, counts and known faults: `datamodules/cards/flickr30k.md`. The arguments are those of `KarpathyData`.
    """

    facts = _FLICKR30K

    def path(self, picture: str) -> str:
        """Return the file in the one folder of all pictures."""
        return f"flickr30k-images/{picture}"

    def image_name(self, picture: str) -> str:
        """Return the file name."""
        return Path(picture).name


def _among_first(entry: Entry) -> bool:
    return Path(entry.picture).name <= LAST_OF_FIRST_1000


def read_token_file(root: Path) -> list[Entry]:
    """Read the pictures of Flickr8k as its own files list them: training, then validation, then test.

    Captions of pictures in none of the lists, of which the published file has 92, are skipped; one of these captions
    has an id that is no file name.

    Raises:
        UserError: If a file is missing, a line has no caption, a picture is in two lists, or has no caption.
    """
    path = find(root, _TOKENS, _TEXT_SOURCE)
    captions: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for number, line in enumerate(_lines(path)):
        name, tab, caption = line.partition("\t")
        if not tab:
            raise UserError(
                f"{path}, line {number + 1}: expected <file>#<number>, a tab and a caption, and found {line[:60]!r}; "
                f"{_TEXT_SOURCE}."
            )
        captions[name.partition("#")[0]].append((number, caption))
    entries = []
    listed: dict[str, str] = {}
    for part, name in _LISTS.items():
        for picture in _lines(find(root, name, _TEXT_SOURCE)):
            if picture in listed:
                raise UserError(f"{root / name} lists {picture}, which {listed[picture]} lists too; {_TEXT_SOURCE}.")
            if picture not in captions:
                raise UserError(f"{path} has no caption of {picture}, which {name} lists; {_TEXT_SOURCE}.")
            listed[picture] = name
            numbers, texts = zip(*captions[picture], strict=True)
            entries.append(Entry(picture, part, numbers, texts))
    return entries


def _lines(path: Path) -> list[str]:
    """Read the lines of a text file that are not blank, without their ends."""
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); {_TEXT_SOURCE}.") from error
