"""CSS3D (Vo et al., CVPR 2019, arXiv 1812.07119): rendered scenes of coloured shapes, and what to change in them."""

import random
from collections import defaultdict
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from cmr_lightning.batch import Pixels
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import COMPOSED_CAPTION
from cmr_lightning.ranges import Name
from datamodules.base import PartName
from datamodules.drawn.flat_scenes import FlatScenes, Scene
from datamodules.facts import Facts, Origin
from datamodules.families.composed_data import ComposedPart
from datamodules.families.listed_compositions import ComposedListing, ListedCompositions, Query
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.content import form
from datamodules.reading.listing import no_labels
from datamodules.reading.published_files import find
from datamodules.reading.safe_pickle import read_pickled

_FILE = "css_toy_dataset_novel2_small.dup.npy"
_FACTS = Facts(
    name="css3d",
    title="CSS3D (Vo et al., CVPR 2019): rendered scenes of coloured shapes, and what to change in them",
    level="composed",
    terms="The repository of TIRG is under Apache-2.0; of the data it states no licence that we know of.",
    origins=(
        Origin(
            (_FILE, "images"),
            "unpack CSS.zip of TIRG (github.com/google/tirg)",
            file="CSS.zip",
            url="https://storage.googleapis.com/image_retrieval_css/CSS.zip",  # its checksum is unknown
        ),
    ),
    remark="published test queries, every tenth training modification held out for validation",
)
_SOURCE = _FACTS.source(_FILE)
HELD_OUT = 10
"""Every tenth training modification is held out for validation."""


class CSS3D(ListedCompositions):
    """CSS3D: which picture shows the scene after the change that a text asks for.

        <root>/css_toy_dataset_novel2_small.dup.npy      scenes and modifications, a pickle of Python 2
        <root>/images/css_{train,test}_<six digits>.png

    A picture is right if it shows the scene of the target, of which there may be several renderings. Queries are those
    of TIRG. An epoch draws random modifications, half as many as there are training pictures, one of the sources of
    each, and for that source another modification. Test queries are all sources of all modifications.

    A training and a test part are published. Every tenth training modification is held out for validation, with the
    pictures that it starts from and leads to; other modifications may have some of these pictures in training.

    The pickle is read by `safe_pickle`, which runs nothing in it.

    Source, terms, counts and known faults: `datamodules/cards/css3d.md`.

    Args:
        root: Folder of the published files.
        image: What image encoders are fed with; by default the pictures.
        text: What text encoders are fed with; by default all words.
        sources: What queries start from: `rendered` pictures, like the answers, or `flat` drawings of their scenes.
        **kwargs: Options of `CrossModalData`.
    """

    facts = _FACTS
    classes = ("any scene",)
    protocols = COMPOSED_CAPTION
    split_name = "official, every tenth training modification held out"

    def __init__(
        self,
        root: Name,
        image: ImageInput | None = None,
        text: TextInput | None = None,
        sources: Literal["rendered", "flat"] = "rendered",
        **kwargs: Any,
    ) -> None:
        super().__init__(root, image, text, **kwargs)
        self.sources = sources

    @property
    def features(self) -> str:
        """What the encoders are fed with, in words."""
        return super().features + ("; queries start from flat drawings" if self.sources == "flat" else "")

    def read(self, part: PartName) -> ComposedPart:
        """Read one part as encoders are fed with it.

        Raises:
            UserError: If queries start from drawings, but encoders are fed with features.
        """
        read = super().read(part)
        if self.sources == "rendered":
            return read
        pictures = form(read.image)
        if not isinstance(pictures, Pixels):
            raise UserError("CSS3D: data.sources flat needs encoders of pictures; set data.image to Pictures.")
        published = self._published(part)
        things = {picture_file(number, published.part): scene for number, scene in enumerate(published.things)}
        return replace(read, sources=FlatScenes([things[name] for name in read.image_names], pictures.size))

    def list_part(self, part: PartName) -> ComposedListing:
        """List one part, pictures in the order of their numbers."""
        published, changes = self._published(part), self._changes(part)
        numbers = sorted({picture for change in changes for picture in change[:2]})
        if part == "test":
            numbers = list(range(len(published.scenes)))
        rows = {number: row for row, number in enumerate(numbers)}
        listing = ComposedListing.make(
            pictures=[picture_file(number, published.part) for number in numbers],
            label=no_labels(len(numbers)),
            queries=[],
            keys={"caption": [published.scenes[number] for number in numbers]},
        )
        if part == "train":
            return listing.asking(self.draw(listing, len(numbers), random.Random(0)))
        return listing.asking([Query(rows[a], published.texts[number], rows[b]) for a, b, number in changes])

    def draw(self, listing: ComposedListing, count: int, chance: random.Random) -> list[Query]:
        """Draw modifications with one change each, and another change of the same source."""
        published = self._published("train")
        rows = {name: row for row, name in enumerate(listing.pictures)}
        by_modification: dict[int, list[Change]] = defaultdict(list)
        by_source: dict[int, list[Change]] = defaultdict(list)
        for change in self._changes("train"):
            a, b = (rows.get(picture_file(number, "train")) for number in change[:2])
            if a is not None and b is not None:
                there = Change(a, b, change.modification)
                by_modification[change.modification].append(there)
                by_source[a].append(there)
        modifications = list(by_modification)
        drawn: list[Change] = []
        while len(drawn) < count:
            first = chance.choice(by_modification[chance.choice(modifications)])
            others = [other for other in by_source[first.source] if other.modification != first.modification]
            drawn += [first, chance.choice(others)] if others else [first]
        return [Query(change.source, published.texts[change.modification], change.target) for change in drawn[:count]]

    def _changes(self, part: PartName) -> "list[Change]":
        """Return all changes of one part, in the order of the file."""
        changes = self._published(part).changes
        if part == "test":
            return changes
        return [change for change in changes if (change.modification % HELD_OUT == HELD_OUT - 1) == (part == "val")]

    def _published(self, part: PartName) -> "PublishedPart":
        """Return the published part that a part is cut from."""
        return self._content["test" if part == "test" else "train"]

    @cached_property
    def _content(self) -> "dict[str, PublishedPart]":
        path = find(self.root, _FILE, _SOURCE)
        content = read_pickled(path, _SOURCE)
        try:
            return {part: _read(content[part], part) for part in ("train", "test")}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise UserError(
                f"{path} should hold mods and objects_img of train and of test, and does not ({error!r}); {_SOURCE}."
            ) from error


class Change(NamedTuple):
    """What a modification does to a picture: the numbers of the pictures before and afterwards, and its own."""

    source: int
    target: int
    modification: int


class PublishedPart(NamedTuple):
    """One part of the published file.

    Attributes:
        part: Its name.
        things: What there is in each picture.
        scenes: Number of the scene that each picture shows; equal numbers are the same scene.
        texts: What each modification says.
        changes: What the modifications do, in their order.
    """

    part: str
    things: list[Scene]
    scenes: tuple[int, ...]
    texts: tuple[str, ...]
    changes: list[Change]


def picture_file(number: int, part: str) -> str:
    """Return the file of a rendering, relative to the root."""
    return f"images/css_{part}_{number:06d}.png"


def _read(content: dict[str, Any], part: str) -> PublishedPart:
    pictures = len(content["objects_img"])
    scenes = tuple(int(scene) for scene in content.get("labels", range(pictures)))
    modifications = content["mods"]
    changes = [
        Change(int(a), int(b), number)
        for number, modification in enumerate(modifications)
        for a, b in zip(modification["from"], modification["to"], strict=True)
    ]
    if len(scenes) != pictures or any(not 0 <= n < pictures for change in changes for n in change[:2]):
        raise ValueError(f"labels or modifications of {part} do not fit its {pictures} pictures")
    texts = tuple(str(modification["to_str"]) for modification in modifications)
    return PublishedPart(part, content["objects_img"], scenes, texts, changes)
