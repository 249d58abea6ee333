"""Shapes: an embedded data set of small pictures with five captions each, drawn on the spot."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import torch
from annotated_types import Ge
from PIL import Image
from torch import Tensor

from cmr_lightning.batch import Words
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import CLASS_LEVEL, INSTANCE_LEVEL, LABELLED_PAIRS
from cmr_lightning.ranges import Count, PictureSide, Seed
from datamodules.base import CrossModalData, Inputs, PartName, Split, split_checksum
from datamodules.drawn.scenes import CAPTIONS, KINDS, Scene, describe, invent, main_kind, paint, stream
from datamodules.facts import Counts, Facts
from datamodules.families.listed_data import PARTS
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens
from datamodules.inputs.vocabulary import Vocabulary, longest
from datamodules.reading.content import take
from datamodules.reading.loaders import Part

PROTOCOLS = {"class": LABELLED_PAIRS, "attribute": LABELLED_PAIRS, "instance": INSTANCE_LEVEL + CLASS_LEVEL}

PictureSize = Annotated[PictureSide, Ge(16)]
"""Side of a drawn picture, on which shapes can be told apart."""


class DrawnData(CrossModalData):
    """Coloured shapes that are drawn on the spot; they depend on `seed` alone, not on the seed of the run.

    A subclass draws scenes and writes texts. Words are numbered from the training texts.
    """

    classes = tuple(" ".join(kind) for kind in KINDS)

    def __init__(self, sizes: Sequence[int], picture_size: int, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes: dict[PartName, int] = dict(zip(PARTS, sizes, strict=True))
        self.picture_size = picture_size
        self.seed = seed

    @property
    def split(self) -> Split:
        """Parts as drawn; the ids name seed, part and number."""
        name = f"seed {self.seed}, " + "/".join(str(size) for size in self.sizes.values())
        return Split(name, split_checksum({part: list(self._names(part)) for part in self.sizes}))

    @property
    def features(self) -> str:
        """Pictures and words as they are."""
        return f"{self.picture_size} px pictures, words"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """Words of the training texts."""
        return Vocabulary.build(self._train_texts)

    def learned(self) -> dict[str, Any]:
        """Return the words in the order of their numbers, and the length of texts."""
        return {"words": list(self.vocabulary.words), "length": self.text_length}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Take the words and the length of an earlier training."""
        self.vocabulary = Vocabulary(tuple(learned["words"]))
        self.text_length = learned["length"]

    def inputs(self, learned: Mapping[str, Any]) -> Inputs:
        """Return pictures of the size of those drawn, and the words that were learned."""
        words = WordTokens()
        words.restore(learned)
        return Inputs(_SizeOfDrawings(crop=self.picture_size, resize=self.picture_size), words)

    def words(self, length: int) -> Words:
        """Return the form of texts of at most `length` tokens."""
        return Words(len(self.vocabulary), length, words=self.vocabulary.words)

    @cached_property
    def text_length(self) -> int:
        """Tokens in the longest training text; longer texts of other parts are cut."""
        return longest(self._train_texts)

    def picture(self, part: PartName, image: int) -> np.ndarray:
        """Return the picture that encoders see, uint8 `(H, W, 3)`."""
        return take(self.part(part).image, torch.tensor([image]))[0].permute(1, 2, 0).numpy()

    @abstractmethod
    def _names(self, part: PartName) -> tuple[str, ...]: ...

    @property
    @abstractmethod
    def _train_texts(self) -> tuple[str, ...]: ...

    def _paint(self, scenes: Sequence[Scene], *key: str) -> Tensor:
        """Paint scenes, each from the stream of its number under a key, uint8 `(M, 3, H, W)`."""
        streams = (stream(self.seed, *key, i, "picture") for i in range(len(scenes)))
        pictures = [paint(scene, self.picture_size, rng) for scene, rng in zip(scenes, streams, strict=True)]
        return torch.from_numpy(np.stack(pictures))


class _SizeOfDrawings(Pictures):
    """Anybody's pictures in the size of drawn ones."""

    def of_pictures(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Return uint8 `(N, 3, H, H)`, in memory as drawn pictures are: convolutions round by it."""
        return super().of_pictures(pictures).contiguous()


class Shapes(DrawnData):
    """Coloured shapes between sky and ground, with five English captions a picture; nothing to download.

    A picture shows two to four shapes, exactly one of them large. Its class is the colour and shape of the large one,
    such as `red circle`: 20 classes, as equal in number as the size of a part allows. Pictures and captions are drawn
    from streams of their own: they depend on `seed` alone, not on the seed of the run, and picture i of a part is the
    same whatever the sizes of the parts. Every caption is one text.

    Args:
        level: What the labels say, and what is relevant to what. `class`: the class of the picture, items are relevant
            when they share it. `attribute`: every kind of shape that is present, large or small, multi-hot over the
            same 20 kinds, items are relevant when they share one. `instance`: the class again, but a text is relevant
            to its own picture only.
        num_train: Training pictures.
        num_val: Validation pictures.
        num_test: Test pictures.
        picture_size: Side of the pictures in pixels.
        seed: Seed of the data.
        **kwargs: Options of `CrossModalData`.

    Raises:
        UserError: If the level is unknown or a number out of range.

    Example:
        >>> Shapes(num_train=20).part("train").captions[1]
        'a scarlet disc to the right of a navy plus'
    """

    facts = Facts(
        name="shapes",
        title="Shapes: pictures of coloured shapes with five captions each, drawn on the spot",
        level="class or instance",
        terms="Apache-2.0, as the project.",
        counts={"train": Counts(3000, 15_000), "val": Counts(500, 2500), "test": Counts(500, 2500)},
        remark="drawn on the spot, every size can be set",
    )

    def __init__(
        self,
        level: Literal["class", "attribute", "instance"] = "class",
        num_train: Count = 3000,
        num_val: Count = 500,
        num_test: Count = 500,
        picture_size: PictureSize = 48,
        seed: Seed = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__((num_train, num_val, num_test), picture_size, seed, **kwargs)
        if level not in PROTOCOLS:
            raise UserError(f"Shapes: level is {level!r}, but must be one of {', '.join(PROTOCOLS)}.")
        self.level = level
        self.protocols = PROTOCOLS[level]

    def read(self, part: PartName) -> Part:
        """Draw the pictures of one part and write their captions."""
        scenes = self._scenes(part)
        captions = self._train_texts if part == "train" else self._captions(part, scenes)
        labels = torch.tensor([KINDS.index(main_kind(scene)) for scene in scenes])
        return Part(
            image=self._paint(scenes, part),
            text=self.vocabulary.encode(captions, self.text_length),
            label=kinds_of(scenes) if self.level == "attribute" else labels,
            owner=torch.arange(len(scenes)).repeat_interleave(CAPTIONS),
            image_names=self._names(part),
            captions=captions,
        )

    def _names(self, part: PartName) -> tuple[str, ...]:
        return tuple(f"shapes-{self.seed}-{part}-{i:05d}" for i in range(self.sizes[part]))

    def _scenes(self, part: PartName) -> list[Scene]:
        return [invent(KINDS[i % len(KINDS)], stream(self.seed, part, i, "scene")) for i in range(self.sizes[part])]

    @cached_property
    def _train_texts(self) -> tuple[str, ...]:
        return self._captions("train", self._scenes("train"))

    def _captions(self, part: PartName, scenes: list[Scene]) -> tuple[str, ...]:
        written = [describe(scene, stream(self.seed, part, i, "captions")) for i, scene in enumerate(scenes)]
        return tuple(caption for captions in written for caption in captions)


def kinds_of(scenes: Sequence[Scene]) -> Tensor:
    """Return the kinds of shapes in each scene, multi-hot `(M, 20)`."""
    label = torch.zeros(len(scenes), len(KINDS))
    for row, scene in zip(label, scenes, strict=True):
        row[[KINDS.index((thing.colour, thing.shape)) for thing in scene]] = 1
    return label
