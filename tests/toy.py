"""A tiny learnable data set in memory, for tests of what is not about data."""

from dataclasses import replace
from typing import Any, TypeVar

import torch

from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.encoders import FeatureMLP
from cmr_lightning.evaluation import CLASS_LEVEL, COMPOSED_CAPTION, COMPOSED_TARGET, INSTANCE_LEVEL
from datamodules.base import CrossModalData, PartName, Split
from datamodules.families.composed_data import ComposedData, ComposedPart
from datamodules.reading.loaders import Part

M = TypeVar("M", bound=EmbeddingModel)
CLASSES = 4
IMAGE, TEXT = 12, 8


class Toy(CrossModalData):
    """Gaussian blobs, one per class, seen through two random linear maps; `captions` texts an image."""

    classes = tuple(f"class {c}" for c in range(CLASSES))
    features = "toy features"
    split = Split("toy", "0" * 16)

    def __init__(
        self,
        batch_size: int = 16,
        num_train: int = 96,
        captions: int = 1,
        level: str = "label",
        multi_label: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(batch_size, **kwargs)
        self.sizes = {"train": num_train, "val": 24, "test": 24}
        self.captions = captions
        self.multi_label = multi_label
        self.protocols = CLASS_LEVEL if level == "label" else INSTANCE_LEVEL
        self.parts_read: list[str] = []

    def read(self, part: PartName) -> Part:
        self.parts_read.append(part)
        seed = ["train", "val", "test"].index(part)
        world = torch.Generator().manual_seed(99)
        shapes = (CLASSES, 6), (6, IMAGE), (6, TEXT)
        centres, to_image, to_text = (torch.randn(shape, generator=world) for shape in shapes)
        draw = torch.Generator().manual_seed(seed)
        size = self.sizes[part]
        label = torch.arange(size) % CLASSES
        scene = 2 * centres[label] + torch.randn(size, 6, generator=draw)
        owner = torch.arange(size).repeat_interleave(self.captions)
        text = scene[owner] @ to_text + 0.5 * torch.randn(len(owner), TEXT, generator=draw)
        multi_hot = torch.nn.functional.one_hot(label, CLASSES).float()
        multi_hot[::5] = multi_hot[::5].maximum(multi_hot[::5].roll(1, 1))
        return Part(
            image=scene @ to_image,
            text=text,
            label=multi_hot if self.multi_label else label,
            owner=owner,
            image_names=tuple(f"{part} {i}" for i in range(size)),
            captions=tuple(f"text {i}" for i in range(len(owner))),
        )


class ToyComposed(ComposedData):
    """Points, each asking for three others that lie one of six steps away from it; the text is the step.

    Images 2 i and 2 i + 1 share a caption. With `drawn`, the queries of an epoch are drawn from all.
    """

    classes = tuple(f"class {c}" for c in range(CLASSES))
    features = "toy features"
    split = Split("toy", "0" * 16)
    targets = 3

    def __init__(self, batch_size: int = 16, sources: int = 24, relevance: str = "target", drawn: bool = False) -> None:
        super().__init__(batch_size)
        self.sources = sources
        self.drawn = drawn
        self.protocols = COMPOSED_TARGET if relevance == "target" else COMPOSED_CAPTION

    def read(self, part: PartName) -> ComposedPart:
        world = torch.Generator().manual_seed(99)
        steps, to_text = torch.randn(6, IMAGE, generator=world), torch.randn(6, TEXT, generator=world)
        draw = torch.Generator().manual_seed(["train", "val", "test"].index(part))
        step = torch.stack([torch.randperm(6, generator=draw)[: self.targets] for _ in range(self.sources)])
        source = torch.randn(self.sources, 1, IMAGE, generator=draw)
        image = torch.cat([source, source + steps[step]], dim=1).flatten(0, 1)
        first = torch.arange(self.sources) * (self.targets + 1)
        return ComposedPart(
            image=image,
            text=to_text[step.flatten()],
            label=torch.arange(len(image)) % CLASSES,
            owner=first.repeat_interleave(self.targets),
            target=(first[:, None] + torch.arange(1, self.targets + 1)).flatten(),
            keys={"caption": torch.arange(len(image)) // 2},
            image_names=tuple(f"{part} {i}" for i in range(len(image))),
            captions=tuple(f"step {k}" for k in step.flatten().tolist()),
        )

    def epoch(self, generator: torch.Generator) -> ComposedPart:
        part = self.part("train")
        if not self.drawn:
            return part
        rows = torch.randint(part.num_texts, (part.num_texts,), generator=generator)
        captions = tuple(part.captions[row] for row in rows.tolist())
        assert isinstance(part.text, torch.Tensor)
        return replace(part, text=part.text[rows], owner=part.owner[rows], target=part.target[rows], captions=captions)


def encoder(source: object, dim: int) -> FeatureMLP:
    """A small encoder of features."""
    return FeatureMLP(source, dim, hidden=(16,), activation="tanh", dropout=0.1)  # type: ignore[arg-type]


def toy_model(method: type[M], data: CrossModalData, **kwargs: Any) -> M:
    """A method with small encoders."""
    return method(spec=data.spec, image_encoder=encoder, text_encoder=encoder, **{"dim": 8, **kwargs})
