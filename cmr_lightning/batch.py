"""What a batch is: the contract between datamodules, which make batches, and retrievers, which read them.

Everything here is a named tuple or a frozen dataclass, so Lightning moves batches between devices by itself and nobody
changes them on the way.
"""

from dataclasses import dataclass, field
from typing import Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor


class Tokens(NamedTuple):
    """A batch of texts as token ids.

    Attributes:
        ids: Token ids, `(N, L)`, int64; what stands at masked places does not matter.
        mask: True at real tokens, `(N, L)`, bool. Every text has at least one.
    """

    ids: Tensor
    mask: Tensor


Text = Tensor | Tokens
"""Texts of a batch: feature vectors `(N, D)`, or tokens."""


class ComposedQuery(NamedTuple):
    """A batch of composed queries: images with texts that say what should be different in the answer.

    Attributes:
        source: Images to start from, as `Batch.image`.
        text: What to change in them.
    """

    source: Tensor
    text: Text


TextT = TypeVar("TextT")
ContentT = TypeVar("ContentT")


class Loose(NamedTuple):
    """Images and texts of a training batch that nobody knows to belong together.

    Attributes:
        image: M images, as `Batch.image`.
        text: M texts, as `Batch.text`.
        image_label: Labels of the images, as `Batch.label`.
        text_label: Labels of the texts.
    """

    image: Tensor
    text: Text
    image_label: Tensor
    text_label: Tensor


class Batch(NamedTuple, Generic[TextT]):
    """A training batch: N images, each with one of its texts, or with a composed query that it answers.

    `Batch[ComposedQuery]` is one of composed queries; plain `Batch` leaves open what its texts are.

    Attributes:
        image: Feature vectors `(N, D)`, or `(N, 4, D)` of each image turned by 0, 90, 180 and 270 degrees, or uint8
            pictures `(N, 3, H, W)`.
        text: Feature vectors `(N, D)`, or tokens; in composed data the queries, whose targets are the images.
        label: Class index `(N,)` int64, or multi-hot `(N, C)` float32 with values 0 and 1; -1, or all 0, where it is
            not told.
        image_id: Which image of the training part the row shows, `(N,)` int64. Texts of one image share it, so that
            they are never each other's negatives. In composed data that are measured by captions, images of one
            caption share it.
        loose: What is served beside the pairs where few are known, of which there may then be none; None where all are.
    """

    image: Tensor
    text: TextT
    label: Tensor
    image_id: Tensor
    loose: Loose | None = None


class Items(NamedTuple, Generic[ContentT]):
    """An evaluation batch: N items of one modality, each of them encoded exactly once.

    Attributes:
        content: What is encoded, as `Batch.image` or `Batch.text`.
        label: As in `Batch`: the label of an image, of a text's image, or of the source of a composed query.
        image_id: The id of that image, `(N,)` int64.
        position: Row of the item in its part, `(N,)` int64.
        query: Which items are queries, `(N,)` bool, all others being the gallery; None where every item is both.
    """

    content: ContentT
    label: Tensor
    image_id: Tensor
    position: Tensor
    query: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """Items come as feature vectors of `size` numbers; images come at `turns` rotations, 1 or 4."""

    size: int
    turns: int = 1


@dataclass(frozen=True)
class Pixels:
    """Images come as uint8 RGB pictures of `size` x `size` pixels, values 0 to 255: encoders scale them themselves."""

    size: int


@dataclass(frozen=True)
class Words:
    """Texts come as tokens.

    Attributes:
        vocabulary: Number of token ids V.
        length: Largest number of tokens in a text.
        padding: The id that shorter texts are padded with.
        words: The word of each id, where ids stand for words; empty where they stand for parts of words.
    """

    vocabulary: int
    length: int
    padding: int = 0
    words: tuple[str, ...] = field(default=(), repr=False, compare=False)


Input = Features | Pixels | Words
"""Form of an encoder's input."""


Task = Literal["label", "instance", "composed"]
"""What is asked for: items of the same class, the partner of a pair, or what a composed query describes."""


class DataSpec(NamedTuple):
    """What a model must know of the data before it is built.

    Attributes:
        image: Form of the images.
        text: Form of the texts.
        num_classes: Number of label classes C.
        class_counts: Training images of each class, `C` integers.
        multi_label: True if an item may have several labels (multi-hot), False if exactly one (class index).
        num_images: Distinct training images: the number of classes where every image is its own class.
        relevance: What makes an image and a text relevant to each other in evaluation: a shared `label`, or that the
            text belongs to that very `instance`; or `composed`, where images answer composed queries.
    """

    image: Features | Pixels
    text: Features | Words
    num_classes: int
    class_counts: tuple[int, ...]
    multi_label: bool
    num_images: int
    relevance: Task


def rows(content: Text, index: Tensor) -> Text:
    """Select rows of feature vectors, pictures or tokens, in the order of `index`.

    Examples:
        >>> rows(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([2, 0]))
        tensor([[3.],
                [1.]])
    """
    if isinstance(content, Tokens):
        return Tokens(content.ids.index_select(0, index), content.mask.index_select(0, index))
    return content.index_select(0, index)


def count(content: Text | ComposedQuery) -> int:
    """Count the items in `content`."""
    if isinstance(content, ComposedQuery):
        return len(content.source)
    return len(content.ids) if isinstance(content, Tokens) else len(content)


def one_hot(label: Tensor, num_classes: int) -> Tensor:
    """Convert labels, class indices or multi-hot, to float32 `(N, C)`; a label that is not told has no class.

    Examples:
        >>> one_hot(torch.tensor([1, -1]), num_classes=3)
        tensor([[0., 1., 0.],
                [0., 0., 0.]])
    """
    if label.ndim == 2:
        return label.float()
    return torch.nn.functional.one_hot(label + 1, num_classes + 1)[:, 1:].float()
