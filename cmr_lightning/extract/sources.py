"""Sources of features: the pictures and the texts of a data set, as an encoder reads them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from cmr_lightning.batch import Text, Tokens
from cmr_lightning.errors import UserError
from cmr_lightning.store import Rows, image_check
from datamodules.families.listed_data import PARTS, ListedData
from datamodules.inputs.pictures import Pictures, load_resized, square
from datamodules.reading.published_files import on_disk

Whole = TypeVar("Whole", bound=Text)

_CENTRE = (None,)
_TEN = tuple((*place, mirrored) for mirrored in (0, 1) for place in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)))
"""Where to cut, see `square` of the image inputs: four corners and the middle, and their mirror images."""


_TEN_CROPS, _ROTATIONS = ", mean over ten crops", ", at four rotations"


@dataclass(frozen=True)
class Views:
    """How often an encoder sees a picture: at one place or at ten, and upright or at four rotations, counter-clockwise.

    Attributes:
        side: Side of what is cut out, in pixels.
        rotations: Whether a picture is seen at four rotations, which are kept beside each other.
        ten_crop: Whether it is seen at ten places, whose features are averaged.
    """

    side: int
    rotations: bool = False
    ten_crop: bool = False

    def __str__(self) -> str:
        return f"{_TEN_CROPS if self.ten_crop else ''}{_ROTATIONS if self.rotations else ''}"

    def cut(self, pictures: Iterable[Image.Image]) -> Tensor:
        """Cut resized pictures to `(N, crops, 3, side, side)`, uint8, with the channels last in memory."""
        places = _TEN if self.ten_crop else _CENTRE
        crops = [np.stack([np.asarray(square(picture, place, self.side)) for place in places]) for picture in pictures]
        return torch.from_numpy(np.stack(crops)).permute(0, 1, 4, 2, 3)

    def encode(self, encoder: nn.Module, crops: Tensor) -> Tensor:
        """Encode what `cut` returns to `(N, D)`, or `(N, 4, D)` with rotations."""
        turned = [
            torch.stack([encoder(torch.rot90(crop, turn, dims=(2, 3))) for crop in crops.unbind(1)]).mean(0)
            for turn in range(4 if self.rotations else 1)
        ]
        return torch.stack(turned, dim=1) if self.rotations else turned[0]


def described(preprocessing: str) -> tuple[Pictures, Views] | None:
    """Return the settings that the manifest of a store puts so into words, None where it is of another kind.

    Examples:
        >>> described("pictures, short side 256 (bicubic), centre crop 224, at four rotations")[1]
        Views(side=224, rotations=True, ten_crop=False)
    """
    upright = preprocessing.removesuffix(_ROTATIONS)
    pictures = Pictures.described(upright.removesuffix(_TEN_CROPS))
    if pictures is None:
        return None
    return pictures, Views(pictures.crop, preprocessing.endswith(_ROTATIONS), upright.endswith(_TEN_CROPS))


class Source(ABC, Generic[Whole]):
    """Rows that an encoder turns into features, in batches of one type.

    Attributes:
        rows: Their names, in rising order, whichever parts they are in.
        preprocessing: The steps before the encoder, in words.
        processes: Processes that batches are read in; 0 for threads.
    """

    what: str  # the rows in a word
    rows: Rows
    preprocessing: str
    processes: int = 0

    @abstractmethod
    def read(self, rows: range) -> Whole:
        """Read a batch as `encode` takes it, or raise a `UserError`."""

    @abstractmethod
    def encode(self, encoder: nn.Module, batch: Whole) -> Tensor:
        """Encode a batch to `(N, D)` or `(N, turns, D)`."""


class PictureSource(Source[Tensor]):
    """The pictures of all parts, each of them once; rotations are counter-clockwise.

    Raises:
        UserError: If `data.image` is no `Pictures`, or augments them.
    """

    what = "pictures"

    def __init__(self, data: ListedData, rotations: bool, ten_crop: bool) -> None:
        if not isinstance(data.image, Pictures) or data.image.augment != "none":
            raise UserError(
                "Features are extracted from pictures as they are: set data.image to Pictures, with augment none."
            )
        self.settings = data.image
        self.views = Views(data.image.crop, rotations, ten_crop)
        names = sorted({name for part in PARTS for name in data.listing(part).pictures})
        self.paths = [on_disk(data.root, name) for name in names]
        self.rows = Rows(names, [image_check(path) for path in self.paths])
        self.preprocessing = f"{data.image.description(data.root)}{self.views}"
        self.processes = data.image.processes

    def read(self, rows: range) -> Tensor:
        """Decode pictures `(N, crops, 3, H, H)`, uint8, with the channels last in memory."""
        return self.views.cut(load_resized(path, self.settings) for path in self.paths[rows.start : rows.stop])

    def encode(self, encoder: nn.Module, batch: Tensor) -> Tensor:
        """Encode pictures to `(N, D)`, or `(N, 4, D)` with rotations."""
        return self.views.encode(encoder, batch)


class TextSource(Source[Tokens]):
    """The texts of all parts, each of them once, whichever pictures they belong to.

    Raises:
        UserError: If the data set makes something else of them than tokens.
    """

    what = "texts"

    def __init__(self, data: ListedData) -> None:
        places: dict[str, int] = {}
        contents: list[Tokens] = []
        for part in PARTS:
            content = data.read(part).text
            if not isinstance(content, Tokens):
                raise UserError(
                    f"Features are extracted from tokens, but data.text, {type(data.text).__name__}, makes none."
                )
            first = sum(len(tokens.ids) for tokens in contents)
            places |= {caption: first + row for row, caption in enumerate(data.listing(part).captions)}
            contents.append(content)
        texts = sorted(places)
        order = torch.tensor([places[text] for text in texts])
        length = max(tokens.ids.shape[1] for tokens in contents)
        padded = [[F.pad(kind, (0, length - kind.shape[1])) for kind in tokens] for tokens in contents]
        self.tokens = Tokens(*(torch.cat(kind)[order] for kind in zip(*padded, strict=True)))
        self.rows = Rows(texts)
        self.preprocessing = f"{data.text.description}, at most {length} of a text"

    def read(self, rows: range) -> Tokens:
        """Return tokens `(N, L)`, no longer than the longest text of the batch."""
        ids, mask = (kind[rows.start : rows.stop] for kind in self.tokens)
        length = int(mask.any(0).nonzero().max()) + 1
        return Tokens(ids[:, :length], mask[:, :length])

    def encode(self, encoder: nn.Module, batch: Tokens) -> Tensor:
        """Encode texts to `(N, D)`."""
        return encoder(batch)
