"""Images and texts as features of a pretrained encoder, read from a feature store that `extract` made."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cmr_lightning.batch import Features
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Name
from cmr_lightning.store import FeatureStore, image_check
from datamodules.inputs.image_inputs import IfFaulty, ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.content import Stored
from datamodules.reading.listing import Listing


class StoredImages(ImageInput):
    """Input of image encoders: features of the pictures, from the store `<folder>/<encoder>/image`.

    The pictures themselves need not be there; those that are must be the ones that the features were made of.

    Args:
        encoder: Name of the store.
        rotations: Whether training images come at four rotations; evaluation is always of upright ones.
        missing: `refuse` a data set of which the store lacks pictures, or `skip` these.
        folder: Where the stores are, relative to the root of the data set or absolute.
    """

    def __init__(
        self, encoder: Name, rotations: bool = False, missing: IfFaulty = "refuse", folder: Name = "features"
    ) -> None:
        self.encoder = encoder
        self.rotations = rotations
        self.missing = missing
        self.folder = folder
        self._store: FeatureStore | None = None

    def description(self, root: Path) -> str:
        """Name the store and the encoder that made it."""
        return f"{_made(self._open(root))}{', four rotations in training' if self.rotations else ''}"

    def usable(self, root: Path, pictures: Sequence[str]) -> Tensor:
        """Tell which pictures have a row."""
        store = self._open(root)
        numbers = store.numbers(pictures)
        known = numbers >= 0
        self.refuse_missing(known, pictures, store.folder, "extract them under another name")
        for name, number in zip(pictures, numbers.tolist(), strict=True):
            path = root / name
            if number >= 0 and path.is_file() and image_check(path) != store.checks[number]:
                raise UserError(
                    f"The feature store {store.folder} was made of other pictures: {name} had {store.checks[number]} "
                    f"bytes and has {image_check(path)}; extract again under another name, or get the pictures back."
                )
        return known

    def content(self, root: Path, pictures: Sequence[str], training: bool) -> Stored:
        """Return rows of the store."""
        store = self._open(root)
        return StoredRows(store, store.numbers(pictures), turned=training and self.rotations)

    def _open(self, root: Path) -> FeatureStore:
        if self._store is None:
            store = open_store(root, self.folder, self.encoder, "image")
            if self.rotations and store.turns == 1:
                raise UserError(
                    f"data.image.rotations is true, but the feature store {store.folder} holds upright pictures only; "
                    f"extract again under another name with --rotations=true."
                )
            self._store = store
        return self._store


class StoredTexts(TextInput):
    """Input of text encoders: features of the captions, from the store `<folder>/<encoder>/text`.

    Args:
        encoder: Name of the store.
        folder: Where the stores are, relative to the root of the data set or absolute.
    """

    def __init__(self, encoder: Name, folder: Name = "features") -> None:
        self.encoder = encoder
        self.folder = folder
        self._root = Path()
        self._store: FeatureStore | None = None

    @property
    def description(self) -> str:
        """The store and the encoder that made it."""
        return _made(self._opened())

    def locate(self, root: Path) -> None:
        """Keep the folder that the store is found by."""
        self._root = root

    def content(self, listing: Listing) -> Stored:
        """Return rows of the store.

        Raises:
            UserError: If a caption has no row.
        """
        store = self._opened()
        numbers = store.numbers(listing.captions)
        unknown = (numbers < 0).nonzero().flatten().tolist()
        if unknown:
            caption, picture = listing.captions[unknown[0]], listing.pictures[listing.owner[unknown[0]]]
            raise UserError(
                f"The feature store {store.folder} lacks {len(unknown)} of {len(numbers)} texts, first {caption!r} of "
                f"{picture}; extract again under another name, with the data settings of this experiment."
            )
        return StoredRows(store, numbers)

    def _opened(self) -> FeatureStore:
        if self._store is None:
            self._store = open_store(self._root, self.folder, self.encoder, "text")
        return self._store


class StoredRows(Stored):
    """The rows of a store that belong to one part."""

    def __init__(self, store: FeatureStore, numbers: Tensor, turned: bool = False) -> None:
        self.store = store
        self.numbers = numbers
        self.turned = turned

    @property
    def form(self) -> Features:
        """The form of feature vectors, in training at four rotations if asked for."""
        return Features(self.store.size, self.store.turns if self.turned else 1)

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Read feature vectors `(N, D)`, or `(N, turns, D)` in training at four rotations; float32."""
        return self.store.read(self.numbers[index], turned=self.turned and generator is not None)

    def fingerprint(self) -> str:
        """Hash the manifest of the store and the numbers of the rows."""
        return hashlib.sha256(self.store.fingerprint().encode() + self.numbers.numpy().tobytes()).hexdigest()


def _made(store: FeatureStore) -> str:
    """Name a store and the encoder that made it: features of one name may be of other weights elsewhere."""
    made = store.manifest
    name = store.folder.parent.name
    return f"stored features {name} ({made.encoder}, weights {made.weights}; {made.preprocessing})"


def open_store(root: Path, folder: str, encoder: str, modality: Literal["image", "text"]) -> FeatureStore:
    """Open the store of one modality.

    Raises:
        UserError: If it is not there, naming those that are.
    """
    stores = root / Path(folder).expanduser()
    if not (stores / encoder / modality).is_dir():
        there = sorted(path.parent.name for path in stores.glob(f"*/{modality}"))
        config = Path("experiments/features", f"{root.name}_{encoder}.yaml")
        known = config if config.is_file() else "experiments/features/<dataset>_<encoder>.yaml"
        raise UserError(
            f"{stores / encoder} holds no features for data.{modality}; make them with `python -m cmr_lightning "
            f"extract --config {known}`, or set data.{modality}.encoder to one of those there: "
            f"{', '.join(there) or 'none yet'}."
        )
    return FeatureStore(stores / encoder / modality)
