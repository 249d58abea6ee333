"""Karpathy's JSON files: pictures, their sentences and their parts, for Flickr8k, Flickr30k and MSCOCO alike.

A. Karpathy, L. Fei-Fei: "Deep Visual-Semantic Alignments for Generating Image Descriptions", CVPR 2015.
"""

import gzip
import json
import zlib
from abc import abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import INSTANCE_LEVEL
from cmr_lightning.ranges import Count, Name
from datamodules.base import PartName
from datamodules.facts import Origin, packed
from datamodules.families.listed_data import PARTS, ListedData
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput, WordTokens
from datamodules.reading.listing import Listing, no_labels
from datamodules.reading.published_files import find


class Entry(NamedTuple):
    """A picture, behind the folder that the file may name, with its sentences in the order of `sentids`."""

    picture: str
    split: str
    sentence_ids: tuple[int, ...]
    captions: tuple[str, ...]


def find_json(root: Path, name: str, source: str) -> Path:
    """Find the file `name`, or `name` with `.gz` behind it; see `find`."""
    archive = packed(root, name)
    return archive if archive.is_file() and not (root / name).is_file() else find(root, name, source)


def json_origin(name: str, layout: str = "") -> Origin:
    """Return where a file of Karpathy's comes from."""
    return Origin(
        (name,),
        f"put {name}, packed by gzip or not, from caption_datasets.zip of Karpathy's Deep Visual-Semantic Alignments "
        "(cs.stanford.edu/people/karpathy/deepimagesent)",
        layout=layout,
    )


def read_entries(path: Path, source: str) -> list[Entry]:
    """Read all pictures of a JSON file, perhaps packed by gzip, in its order; `source` ends the message of each error.

    Raises:
        UserError: If the file is damaged, misses a key, names a picture or a sentence twice, or has a sentence without
            its picture or a picture without its sentences.
    """
    try:
        content = path.read_bytes()
        images = list(json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)["images"])
    except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"{path} is not a JSON file in UTF-8 with a list of images ({error!r}), perhaps it was cut short; {source}."
        ) from error
    seen: set[str | int] = set()
    entries = []
    for number, image in enumerate(images):
        try:
            entry = _entry(image)
            keys: set[str | int] = {entry.picture, *entry.sentence_ids}
            if repeated := seen & keys:
                sentences = repeated - {entry.picture}
                twice = f"sentence {min(sentences, key=str)}" if sentences else entry.picture
                raise UserError(f"{twice} is listed for the second time")
        except (KeyError, TypeError, ValueError, AttributeError, UserError) as error:
            fault = error if isinstance(error, UserError) else f"{error!r} is missing or of the wrong kind"
            raise UserError(f"{path}, images[{number}]: {fault}; {source}.") from error
        seen |= keys
        entries.append(entry)
    return entries


def _entry(image: dict[str, Any]) -> Entry:
    folder = image.get("filepath")
    picture = f"{folder}/{image['filename']}" if folder else str(image["filename"])
    strangers = [s["sentid"] for s in image["sentences"] if s["imgid"] != image["imgid"]]
    sentences = {int(s["sentid"]): s for s in image["sentences"]}
    ids = tuple(int(number) for number in image["sentids"])
    if strangers or sorted(sentences) != sorted(ids) or len(sentences) != len(image["sentences"]):
        wrong = f"sentence {strangers[0]} is of another picture" if strangers else "its sentences are not its sentids"
        raise UserError(f"{picture}: {wrong}")
    return Entry(picture, str(image["split"]), ids, tuple(str(sentences[number]["raw"]) for number in ids))


class KarpathyData(ListedData):
    """Pictures with about five sentences each, in Karpathy's split; a text is relevant to its own picture only.

    A subclass says in `path` where a picture is. The file is the first one that its `facts` name.

    Args:
        root: Folder of the published files.
        image: Input of the image encoders; by default the pictures.
        text: Input of the text encoders; by default the words that occur four times in training (VSE++).
        captions_per_image: How many captions of a picture are kept, the first ones of the file; None keeps all. The
            published protocols assume five.
        **kwargs: Options of `CrossModalData`.
    """

    classes = ("any picture",)
    protocols = INSTANCE_LEVEL

    def __init__(
        self,
        root: Name,
        image: ImageInput | None = None,
        text: TextInput | None = None,
        captions_per_image: Count | None = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image, text or WordTokens(min_count=4), **kwargs)
        self.captions_per_image = captions_per_image

    def entries(self) -> list[Entry]:
        """Read the pictures of all parts from Karpathy's file, raising what `read` does."""
        name = self.facts.origins[0].holds[0]
        source = self.facts.source(name)
        return read_entries(find_json(self.root, name, source), source)

    @abstractmethod
    def path(self, picture: str) -> str:
        """Return the file of an entry's picture, relative to the root."""

    def usage(self) -> Mapping[str, PartName | None]:
        """Assign each split of the file to a part, or to None if it is not used."""
        return {part: part for part in PARTS}

    def list_part(self, part: PartName) -> Listing:
        """List one part in the order of the file."""
        entries = self._by_part[part]
        captions = [entry.captions[: self.captions_per_image] for entry in entries]
        return Listing(
            pictures=tuple(self.path(entry.picture) for entry in entries),
            label=no_labels(len(entries)),
            captions=tuple(caption for of_one in captions for caption in of_one),
            owner=torch.arange(len(entries)).repeat_interleave(torch.tensor([len(of_one) for of_one in captions])),
        )

    @property
    def split_name(self) -> str:
        """The number of pictures of each part, and of captions of a picture unless it is five."""
        name = f"Karpathy {'/'.join(str(len(self._by_part[part])) for part in PARTS)}"
        if self.captions_per_image == 5:
            return name
        kept = "all captions" if self.captions_per_image is None else f"{self.captions_per_image} captions an image"
        return f"{name}, {kept}"

    @cached_property
    def _by_part(self) -> dict[PartName, list[Entry]]:
        by_part: dict[PartName, list[Entry]] = {part: [] for part in PARTS}
        usage = self.usage()
        for entry in self.entries():
            if entry.split not in usage:
                raise UserError(
                    f"{type(self).__name__}: {entry.picture} is in the unknown part {entry.split!r}, not in one of "
                    f"{', '.join(usage)}; get the files again."
                )
            if (part := usage[entry.split]) is not None:
                by_part[part].append(entry)
        for part, entries in by_part.items():
            if not entries:
                raise UserError(f"{type(self).__name__}: the files list no {part} pictures; get them again.")
        return by_part
