"""Images and texts as features of a pretrained encoder, read from a feature store that `extract` made."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cmr_lightning.batch import Features
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Name
from cmr_lightning.store import FeatureStore, image_check, places_of_stores
from datamodules.inputs.image_inputs import IfFaulty, ImageInput
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.content import Stored
from datamodules.reading.listing import Listing
from datamodules.reading.published_files import on_disk


class StoredImages(ImageInput):
    """Input of image encoders: features of the pictures, from the store `<folder>/<encoder>/image`.

    The pictures themselves need not be there; those that are must be the ones that the features were made of.

    Args:
        encoder: Name of the store.
        rotations: Whether images come at four rotations, for methods that have a use for them.
        missing: `refuse` a data set of which the store lacks pictures, or `skip` these.
        folder: Where the stores are: a name in `runs`, where `extract` writes them by data sets, or else in the root of
            the data set; or an absolute path.
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
            path = on_disk(root, name)
            if number >= 0 and path.is_file() and image_check(path) != store.checks[number]:
                raise UserError(
                    f"The feature store {store.folder} was made of other pictures: {name} had {store.checks[number]} "
                    f"bytes and has {image_check(path)}; extract again under another name, or get the pictures back."
                )
        return known

    def content(self, root: Path, pictures: Sequence[str], training: bool) -> Stored:
        """Return rows of the store, the same in training and evaluation."""
        del training
        store = self._open(root)
        return StoredRows(store, store.numbers(pictures), turned=self.rotations)

    def made_by(self, root: Path) -> dict[str, Any]:
        """Return what made the rows of the store."""
        return _maker(self._open(root))

    def compare(self, root: Path, made_by: Mapping[str, Any]) -> None:
        """Raise UserError if something else made the features that a model was trained on."""
        _refuse_others(self._open(root), made_by)

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
        folder: Where the stores are: a name in `runs`, where `extract` writes them by data sets, or else in the root of
            the data set; or an absolute path.
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

    def learned(self) -> dict[str, Any]:
        """Return what made the rows of the store."""
        return _maker(self._opened())

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Raise UserError if something else made the features that a model was trained on."""
        _refuse_others(self._opened(), learned)

    def revive(self, learned: Mapping[str, Any]) -> None:
        """Take nothing: other texts have no rows in the store, which need not be there."""

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
        """The form of feature vectors, at four rotations if asked for."""
        return Features(self.store.size, self.store.turns if self.turned else 1)

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Read feature vectors `(N, D)`, or `(N, turns, D)` at four rotations; float32."""
        return self.store.read(self.numbers[index], turned=self.turned)

    def fingerprint(self) -> str:
        """Hash the manifest of the store and the numbers of the rows."""
        return hashlib.sha256(self.store.fingerprint().encode() + self.numbers.numpy().tobytes()).hexdigest()


def _made(store: FeatureStore) -> str:
    """Name a store and the encoder that made it: features of one name may be of other weights elsewhere."""
    made = store.manifest
    name = store.folder.parent.name
    return f"stored features {name} ({made.encoder}, weights {made.weights}; {made.preprocessing})"


def _maker(store: FeatureStore) -> dict[str, str]:
    """Return what of its manifest says how the rows of a store were made, whatever items it holds."""
    made = asdict(store.manifest)
    return {key: made[key] for key in ("encoder", "weights", "preprocessing", "precision", "dtype")}


def _refuse_others(store: FeatureStore, made_by: Mapping[str, str]) -> None:
    for key, made in _maker(store).items():
        if made != made_by[key]:
            raise UserError(
                f"The model was trained on features whose {key} was {made_by[key]}, but that of the feature store "
                f"{store.folder} is {made}; give the store that the model was trained on."
            )


def open_store(root: Path, folder: str, encoder: str, modality: Literal["image", "text"]) -> FeatureStore:
    """Open the store of one modality.

    Raises:
        UserError: If it is not there, naming those that are.
    """
    places = places_of_stores(root, folder)
    for stores in places:
        if (stores / encoder / modality).is_dir():
            return FeatureStore(stores / encoder / modality)
    there = sorted({path.parent.name for stores in places for path in stores.glob(f"*/{modality}")})
    config = Path("experiments/features", f"{root.name}_{encoder}.yaml")
    known = config if config.is_file() else "experiments/features/<dataset>_<encoder>.yaml"
    raise UserError(
        f"There are no features for data.{modality} called {encoder} in {' or '.join(map(str, places))}; make them "
        f"with `python -m cmr_lightning extract --config {known}`, or set data.{modality}.encoder to one of those "
        f"there: {', '.join(there) or 'none yet'}."
    )
