"""A trained model: it embeds texts, pictures and composed queries as they come."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch
from lightning_fabric.utilities import move_data_to_device
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from cmr_lightning.batch import ComposedQuery, Features, Items, Pixels, Text, count
from cmr_lightning.embedding_model import EmbeddingModel, Modality
from cmr_lightning.errors import UserError
from cmr_lightning.extract.extract_features import named_device, weights_checksum
from cmr_lightning.model.index import Index
from cmr_lightning.model.index_items import IndexItems, PartItems, items_of
from cmr_lightning.model.index_update import update_index
from cmr_lightning.model.precision import named_precision
from cmr_lightning.model.preprocessing import Picture
from cmr_lightning.model.readers import Readers, readers
from datamodules import CrossModalData, TrainedOn
from datamodules.base import PartName
from datamodules.reading.picture_files import Orientation
from datamodules.reading.reading_ahead import ReadingAhead

_SHOWN = 300
"""From so many items on a progress bar is shown."""

CPU = torch.device("cpu")

Embeddings = NDArray[np.float32]
Whole = TypeVar("Whole")


class Model:
    """A trained model on its own, which needs nothing of the data that it was trained on.

    Embeddings are those of `test`, to the bit on the CPU where batches are of its size. `distance` says how to compare
    them. Where the model was trained on features, an array of such features, `(N, size)` or `(N, 4, size)` of
    floating-point numbers, is accepted in place of pictures or texts.

    Args:
        module: The model that was trained, with its weights.
        readers: What makes the input of its encoders.
        trained_on: What it was trained on.
        protocol: The id of the main protocol.
        device: Where it computes.
        precision: The type of numbers that it computes with, as Lightning names them.
        batch_size: Items embedded at once; `test` takes `eval_batch_size` of the data.
        source: Where it was loaded from; empty where it was trained in this process.

    Attributes:
        module: The Lightning module, in evaluation mode.
        trained_on: Data set, split, labels, words, and whatever else the model has of its training data.
        protocol: The id of the protocol that chose the checkpoint.
    """

    def __init__(
        self,
        module: EmbeddingModel,
        readers: Readers,
        trained_on: TrainedOn,
        protocol: str,
        device: torch.device = CPU,
        precision: str | int | None = None,
        batch_size: int = 256,
        source: str = "",
    ) -> None:
        self.source = source
        self.trained_on = trained_on
        self.protocol = protocol
        self.device = device
        self.batch_size = batch_size
        self._precision = named_precision(precision, device)
        self.module: EmbeddingModel = self._precision.convert_module(module).to(device).eval()  # type: ignore[assignment]
        self._readers = readers

    @classmethod
    def of(cls, module: EmbeddingModel, data: CrossModalData, device: str = "cpu") -> Self:
        """Return the model that a training in Python has made, with the data that it was trained on.

        Raises:
            UserError: If this machine does not have the device.
        """
        place, trained_on = named_device(device), data.trained_on()
        protocol, batch_size = data.protocols[0].id, data.eval_batch_size
        return cls(module, readers(data, trained_on, place), trained_on, protocol, place, batch_size=batch_size)

    def __repr__(self) -> str:
        return f"Model({self.method} on {self.trained_on.dataset}, {self.dim} numbers, {self.protocol})"

    # Facts -----------------------------------------------------------------------------------------------------------

    @property
    def method(self) -> str:
        """The method, by its class name."""
        return type(self.module).__name__

    @property
    def distance(self) -> str:
        """The distance of the main protocol: `cos`, or `l2`."""
        return self.protocol.split("/")[1]

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the label classes, in the order of their numbers."""
        return tuple(self.trained_on.classes)

    @property
    def composed(self) -> bool:
        """Whether the model answers composed queries, with `embed_queries`."""
        return self.trained_on.spec.relevance == "composed"

    @property
    def preprocessing(self) -> dict[str, str]:
        """How pictures and texts are prepared, in words."""
        return {"images": self._readers.pictures.description, "texts": self._readers.texts.description}

    @property
    def orientation(self) -> Orientation:
        """How pictures are seen."""
        return self._readers.pictures.orientation

    @cached_property
    def dim(self) -> int:
        """Numbers D of an embedding."""
        form = self.trained_on.spec.image
        if isinstance(form, Pixels):
            blank = torch.zeros(1, 3, form.size, form.size, dtype=torch.uint8)
        else:
            blank = torch.zeros(1, *_shape(form))
        return self._points(blank.to(self.device), 0, "image").shape[1]

    @cached_property
    def checksum(self) -> str:
        """The start of the SHA-256 of all weights, 16 hexadecimal digits: embeddings of two models do not mix."""
        return weights_checksum(self.module)

    # Embedding -------------------------------------------------------------------------------------------------------

    def embed_texts(self, texts: Sequence[str] | NDArray, batch_size: int | None = None) -> Embeddings:
        """Embed texts as points `(N, dim)`, float32.

        Words are those of the training; a warning names texts without any of them. Longer texts than the model was
        trained on are cut.

        Raises:
            UserError: If a text is empty, or the model answers composed queries.
        """
        if self.composed:
            raise UserError(f"{self.method} embeds texts with the pictures that they change; use embed_queries.")
        read, encode = self._text_steps(texts)
        return self._embed("text", texts, read, encode, batch_size)

    def embed_images(self, images: Sequence[Picture] | NDArray, batch_size: int | None = None) -> Embeddings:
        """Embed pictures as points `(N, dim)`, float32.

        Pictures are paths, PIL images or uint8 arrays `(H, W, 3)`, and are resized and cut as in the training. Up to
        about 179 million pixels are decoded; Pillow warns from the half of that on.

        Raises:
            UserError: If a picture cannot be read, or the model was trained on features that cannot be computed here.
        """
        read, encode = self._picture_steps(images)
        return self._embed("image", images, read, encode, batch_size)

    def embed_queries(
        self, images: Sequence[Picture] | NDArray, texts: Sequence[str] | NDArray, batch_size: int | None = None
    ) -> Embeddings:
        """Embed composed queries, pictures with texts that say what to change, as points `(N, dim)`, float32.

        Raises:
            UserError: As for pictures and texts, if there are not as many of both, or the model is not a composed one.
        """
        if not self.composed:
            raise UserError(f"{self.method} answers no composed queries; use embed_texts or embed_images.")
        if len(images) != len(texts):
            raise UserError(
                f"A composed query is a picture with a text, but {len(images)} and {len(texts)} were given."
            )
        read_pictures, encode_pictures = self._picture_steps(images)
        read_texts, encode_texts = self._text_steps(texts)
        rows = range(len(texts))

        def read(part: range) -> ComposedQuery:
            return ComposedQuery(
                read_pictures(images[part.start : part.stop]), read_texts(texts[part.start : part.stop])
            )

        def encode(query: ComposedQuery) -> ComposedQuery:
            source, text = encode_pictures(query.source), encode_texts(query.text)
            return ComposedQuery(source, text)

        return self._embed("text", rows, read, encode, batch_size)

    def index(
        self, items: str | Path | CrossModalData | IndexItems, folder: str | Path, part: PartName = "test"
    ) -> Index:
        """Make an index of pictures and texts, or bring it up to date; only what is new or has changed is embedded.

        Args:
            items: A folder of pictures, a table in CSV, JSON lines or Parquet with columns `image`, `text` or both, or
                a data set with the words of the training.
            folder: Folder of the index.
            part: The part of a data set.

        Raises:
            UserError: If there is nothing to index, or the folder holds the index of another model.
        """
        folder = Path(folder).expanduser()
        if isinstance(items, str | Path):
            items = items_of(Path(items), folder)
        elif isinstance(items, CrossModalData):
            items = PartItems(items, part)
        update_index(folder, items, self)
        return Index(folder)

    def _picture_steps(self, images: Any) -> tuple[Callable, Callable]:
        form = self.trained_on.spec.image
        _check_list(images, "images", "[picture]")
        if _is_of_features(images):
            return _features_of(form, images.shape[1:]), _same
        return self._readers.pictures.read, self._readers.pictures.encode

    def _text_steps(self, texts: Any) -> tuple[Callable, Callable]:
        _check_list(texts, "texts", '["a dog"]')
        if _is_of_features(texts):
            return _features_of(self.trained_on.spec.text, texts.shape[1:]), _same
        for number, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"Text {number} is {text!r:.50}, but should be a text with words.")
        return self._readers.texts.read, self._readers.texts.encode

    def _embed(
        self,
        modality: Modality,
        items: Any,
        read: Callable[[Any], Whole],
        encode: Callable[[Whole], Text | ComposedQuery],
        batch_size: int | None,
    ) -> Embeddings:
        size = self.batch_size if batch_size is None else batch_size
        if size < 1:
            raise UserError(f"batch_size is {size}, but should be at least 1.")
        self.module.eval()  # it may have been trained on
        starts = range(0, len(items), size)
        ahead: ReadingAhead[int, Whole] = ReadingAhead(lambda start: read(items[start : start + size]))
        batches = ahead(starts)
        points = [torch.empty(0, self.dim)] if not starts else []
        for start, batch in _shown(zip(starts, batches, strict=True), len(starts), len(items)):
            content = encode(move_data_to_device(batch, self.device))
            points.append(self._points(content, start, modality).cpu())
        return torch.cat(points).numpy()

    def _points(self, content: Text | ComposedQuery, first: int, modality: Modality) -> Tensor:
        """Embed the items from number `first` on."""
        position = torch.arange(first, first + count(content))
        labels = torch.zeros_like(position)  # nobody reads them
        with torch.inference_mode(), self._precision.forward_context():
            items = Items(self._precision.convert_input(content), labels, position, position)
            return self.module.embed_items(items, modality).float()


def _check_list(items: Any, name: str, example: str) -> None:
    if isinstance(items, str | bytes) or not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise UserError(f"embed_{name} takes a list, as embed_{name}({example}), and not a {type(items).__name__}.")


def _is_of_features(items: Any) -> bool:
    return isinstance(items, np.ndarray) and items.dtype.kind == "f"


def _shape(form: Features) -> tuple[int, ...]:
    return (form.size,) if form.turns == 1 else (form.turns, form.size)


def _features_of(form: object, shape: tuple[int, ...]) -> Callable[[NDArray], Tensor]:
    """Check the shape of an array of features, and return what makes a tensor of some of its rows."""
    if not isinstance(form, Features):
        raise UserError(f"An array of floating-point numbers is none of the {form} that the model was trained on.")
    if shape != _shape(form):
        expected, found = (", ".join(map(str, ("N", *sizes))) for sizes in (_shape(form), shape))
        raise UserError(f"The model was trained on features of shape ({expected}), and those given have ({found}).")
    return lambda rows: torch.from_numpy(rows.astype(np.float32))


def _same(batch: Whole) -> Whole:
    return batch


def _shown(batches: Iterable, total: int, items: int) -> Iterable:
    """Show a progress bar, on a terminal or in a notebook, where there are many items."""
    console = Console(stderr=True)
    hidden = items < _SHOWN or not (console.is_terminal or console.is_jupyter)
    description = f"Embedding {items:,} items"
    return track(batches, description, total, console=console, transient=True, disable=hidden)
