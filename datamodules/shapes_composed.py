"""Shapes in composed form: pictures of coloured shapes with a text that says what to change, drawn on the spot."""

from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any

import torch
from annotated_types import Le

from cmr_lightning.evaluation import COMPOSED_CAPTION, COMPOSED_TARGET
from cmr_lightning.ranges import Count, Seed
from datamodules.base import PartName, Split
from datamodules.drawn.scenes import KINDS, Scene, invent, modify, stream
from datamodules.facts import Counts, Facts
from datamodules.families.composed_data import ComposedData, ComposedPart
from datamodules.shapes import DrawnData, PictureSize, kinds_of


class ShapesComposed(DrawnData, ComposedData):
    """Coloured shapes between sky and ground, each with several texts that say what to change; nothing to download.

    A source scene is one of `Shapes`: two to four shapes, one of them large. Each of its modifications changes one
    thing, its colour, shape, size or place, or takes it away, or adds one. Every picture of a part, source or target,
    is in its gallery. All targets of a source are one change away from it, and the text names what it changes and
    nothing else, so that neither the picture nor the text alone tells the target.

    A picture answers where it shows the scene asked for; the very target is measured as well. Two pictures of one scene
    differ in background, noise and small displacements. Parts depend on `seed` alone, not on the seed of the run, and
    source i of a part is the same whatever the sizes of the parts. The classes of a picture are the kinds of shapes in
    it, a colour with a shape.

    How hard it is, and what one can reach without the text or the picture: `datamodules/cards/shapes_composed.md`.

    Args:
        num_train: Training sources.
        num_val: Validation sources.
        num_test: Test sources.
        modifications: Queries of each source, every one with a target of its own; at most 32.
        picture_size: Side of the pictures in pixels.
        seed: Seed of the data.
        **kwargs: Options of `CrossModalData`.

    Raises:
        UserError: If a number is out of range.

    Example:
        >>> ShapesComposed(num_train=20).part("train").captions[1]
        'make the small yellow triangle white'
    """

    facts = Facts(
        name="shapes_composed",
        title="Shapes in composed form: what to change in pictures of coloured shapes, drawn on the spot",
        level="composed",
        terms="Apache-2.0, as the project.",
        counts={"train": Counts(4400, 4000), "val": Counts(1100, 1000), "test": Counts(2200, 2000)},
        remark="drawn on the spot, every size can be set",
    )
    protocols = (*COMPOSED_CAPTION, *COMPOSED_TARGET)

    def __init__(
        self,
        num_train: Count = 400,
        num_val: Count = 100,
        num_test: Count = 200,
        modifications: Annotated[Count, Le(32)] = 10,
        picture_size: PictureSize = 32,
        seed: Seed = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__((num_train, num_val, num_test), picture_size, seed, **kwargs)
        self.modifications = modifications

    @property
    def split(self) -> Split:
        """Parts as drawn; the ids name seed, part and number."""
        drawn = super().split
        return replace(drawn, name=f"{drawn.name} sources x {self.modifications}")

    def read(self, part: PartName) -> ComposedPart:
        """Draw the pictures of one part and write its texts."""
        groups, texts = self._drawn(part)
        scenes = [scene for group in groups for scene in group]
        source = torch.arange(self.sizes[part]) * (self.modifications + 1)
        numbers = {scene: number for number, scene in enumerate(dict.fromkeys(scenes))}
        return ComposedPart(
            image=self._paint(scenes, "composed", part),
            text=self.vocabulary.encode(texts, self.text_length),
            label=kinds_of(scenes),
            owner=source.repeat_interleave(self.modifications),
            target=(source[:, None] + torch.arange(1, self.modifications + 1)).flatten(),
            keys={"caption": torch.tensor([numbers[scene] for scene in scenes])},
            image_names=self._names(part),
            captions=texts,
        )

    def _names(self, part: PartName) -> tuple[str, ...]:
        """Return the names of the pictures: each source, then its targets."""
        return tuple(
            f"composed-{self.seed}-{part}-{source:05d}-{number}"
            for source in range(self.sizes[part])
            for number in range(self.modifications + 1)
        )

    def _drawn(self, part: PartName) -> tuple[list[tuple[Scene, ...]], tuple[str, ...]]:
        """Draw each source with its targets, and write the text of each target."""
        scenes: list[tuple[Scene, ...]] = []
        texts: list[str] = []
        for i in range(self.sizes[part]):
            rng = stream(self.seed, "composed", part, i)
            source = invent(KINDS[i % len(KINDS)], rng)
            targets: dict[Scene, str] = {}
            while len(targets) < self.modifications:
                triple = modify(source, rng)
                targets.setdefault(triple.target, triple.text)
            scenes.append((source, *targets))
            texts.extend(targets.values())
        return scenes, tuple(texts)

    @cached_property
    def _train_texts(self) -> tuple[str, ...]:
        return self._drawn("train")[1]
