"""The encoders of stored features, built again to embed pictures and texts that no store holds.

A store says in words which encoder made it, with which weights and from what; the model keeps these words.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn

import cmr_lightning.encoders as encoders
from cmr_lightning.batch import Input, Pixels, Tokens
from cmr_lightning.errors import UserError
from cmr_lightning.extract.extract_features import bare, computing_as, weights_checksum
from cmr_lightning.extract.sources import Views, described
from cmr_lightning.model.preprocessing import Item, Picture, Reader, Whole, listed, open_picture, warn_of_unknown_words
from datamodules.inputs import SubwordTokens
from datamodules.inputs.pictures import Pictures, resize
from datamodules.reading.picture_files import Orientation

_TEXTS = re.compile(r"tokens of (?P<tokenizer>.+), at most (?P<length>\d+) of a text")


class _StoredReader(Reader[Item, Whole]):
    """Items for a model on stored features, made by the encoder that made the store.

    Args:
        made_by: What made the store, as the model keeps it.
        weights: Where the encoder's weights are; None for where they usually are.
        device: Where it computes.
    """

    def __init__(self, made_by: Mapping[str, str], weights: str | Path | None, device: torch.device) -> None:
        self.made_by = made_by
        self.weights = weights
        self.device = device

    @property
    def description(self) -> str:
        """What the encoder was given, and which it is."""
        return f"{self.made_by['preprocessing']}, features of {self.made_by['encoder']} {self.made_by['weights']}"

    def _as_stored(self, encode: Callable[[Whole], Tensor], batch: Whole) -> Tensor:
        """Return features in the precision in which the store was made, and rounded as there."""
        with computing_as(self.made_by["precision"], self.device):
            features = encode(batch)
        return features.to(getattr(torch, self.made_by["dtype"])).float()


class StoredPictureReader(_StoredReader[Picture, Tensor]):
    """Pictures for a model on stored features: seen by the encoder that made the store.

    Args:
        made_by: What made the store, see `StoredImages.made_by`.
        turned: Whether the model reads features at four rotations.
        weights: File or folder of the encoder's weights; None for where timm keeps them.
        device: Where it computes.
    """

    def __init__(
        self, made_by: Mapping[str, str], turned: bool, weights: str | Path | None, device: torch.device
    ) -> None:
        super().__init__(made_by, weights, device)
        self.turned = turned

    @property
    def orientation(self) -> Orientation:
        """As when the store was made."""
        return self._settings[0].orientation or "stored"

    @cached_property
    def _settings(self) -> tuple[Pictures, Views]:
        found = described(self.made_by["preprocessing"])
        if found is None:
            raise UserError(f"The features were made of {self.made_by['preprocessing']}, which this version cannot do.")
        pictures, views = found
        return pictures, Views(views.side, self.turned, views.ten_crop)

    @cached_property
    def _encoder(self) -> nn.Module:
        pictures, _ = self._settings
        weights = "hub" if self.weights is None else str(self.weights)
        return _built(self.made_by, Pixels(pictures.crop), {"weights": weights}, "image_weights").to(self.device)

    def read(self, items: Sequence[Picture]) -> Tensor:
        """Return pictures `(N, crops, 3, crop, crop)`, uint8."""
        pictures, views = self._settings
        return views.cut(resize(open_picture(item, pictures.orientation or "stored"), pictures) for item in items)

    def encode(self, batch: Tensor) -> Tensor:
        """Return features `(N, D)`, or `(N, 4, D)` at four rotations, rounded as in the store."""
        return self._as_stored(partial(self._settings[1].encode, self._encoder), batch)


class StoredTextReader(_StoredReader[str, Tokens]):
    """Texts for a model on stored features: read by the encoder that made the store.

    Args:
        made_by: What made the store, see `StoredTexts.learned`.
        weights: Folder of the encoder and its tokenizer; None for their names on the hub, which may be in the cache.
        device: Where it computes.
    """

    def __init__(self, made_by: Mapping[str, str], weights: str | Path | None, device: torch.device) -> None:
        super().__init__(made_by, weights, device)
        self._lock = Lock()  # no tokenizer may work in two threads at once

    @cached_property
    def _tokens(self) -> SubwordTokens:
        found = _TEXTS.fullmatch(self.made_by["preprocessing"])
        if found is None:
            raise UserError(f"The features were made of {self.made_by['preprocessing']}, which this version cannot do.")
        tokens = SubwordTokens(found["tokenizer"] if self.weights is None else str(self.weights))
        with _missing(self.made_by, "text_weights"):
            tokens.load(int(found["length"]))
        return tokens

    @cached_property
    def _encoder(self) -> nn.Module:
        arguments = {} if self.weights is None else {"model": str(self.weights)}
        source = self._tokens.words(self._tokens.length)
        return _built(self.made_by, source, arguments, "text_weights").to(self.device)

    def read(self, items: Sequence[str]) -> Tokens:
        """Return tokens `(N, L)`."""
        with self._lock:
            warn_of_unknown_words(self._tokens, items)
            return self._tokens.content(listed(items))

    def encode(self, batch: Tokens) -> Tensor:
        """Return features `(N, D)`, rounded as in the store."""
        return self._as_stored(self._encoder, batch)


def _built(made_by: Mapping[str, str], source: Input, arguments: Mapping[str, Any], option: str) -> nn.Module:
    """Build an encoder without its projection, and see that its weights are those that made the features."""
    name, _, settings = made_by["encoder"].partition(" ")
    if name not in encoders.__all__:
        raise UserError(
            f"The features were made by {name}, an encoder of somebody's own; give an array of such features."
        )
    kind = getattr(encoders, name)
    with _missing(made_by, option), torch.random.fork_rng(devices=[]):
        encoder = bare(partial(kind, **{**json.loads(settings), **arguments}), source)
    if (found := weights_checksum(encoder)) != made_by["weights"]:
        raise UserError(
            f"The features were made by {made_by['encoder']} with weights of the checksum {made_by['weights']}, but "
            f"those found here have {found}; give the file or folder of the others to cmr_lightning.load as {option}."
        )
    return encoder


@contextmanager
def _missing(made_by: Mapping[str, str], option: str) -> Iterator[None]:
    """Say of weights that cannot be had which they are, and how to give them."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"The model reads features of {made_by['encoder']}, whose weights (checksum {made_by['weights']}) are not "
            f"in the checkpoint; give their file or folder to cmr_lightning.load as {option}. {error}"
        ) from error
