"""Features of pictures in one NumPy archive."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Name
from datamodules.inputs.image_inputs import IfFaulty, ImageInput
from datamodules.reading.published_files import feature_rows, find, read_npz

_SOURCE = (
    "it is given as data.image.path, relative to data.root, and holds the arrays names (N) and features (N x D) of an "
    "encoder run over the pictures"
)


class FeatureArchive(ImageInput):
    """Features in one NumPy archive: the arrays `names` `(N,)` and `features` `(N, D)`.

    Names are picture files as the data set lists them, or without their folders.

    Args:
        path: The archive, relative to the root of the data set or absolute.
        missing: `refuse` a data set of which the archive lacks pictures, or `skip` these.
    """

    def __init__(self, path: Name, missing: IfFaulty = "refuse") -> None:
        self.path = path
        self.missing = missing
        self._archive: tuple[dict[str, int], np.ndarray] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the gigabytes that were read: a copy, or another process, reads them itself if it needs them."""
        return {**vars(self), "_archive": None}

    def description(self, root: Path) -> str:
        """Name the archive."""
        return Path(self.path).name

    def usable(self, root: Path, pictures: Sequence[str]) -> Tensor:
        """Tell which pictures have a row."""
        rows, _ = self._open(root)
        known = torch.tensor([_row_of(name, rows) is not None for name in pictures], dtype=torch.bool)
        self.refuse_missing(known, pictures, root / self.path, "add their features")
        return known

    def content(self, root: Path, pictures: Sequence[str], training: bool) -> Tensor:
        """Return feature vectors `(M, D)`, float32.

        Raises:
            UserError: If two pictures of the same file name in different folders have one row.
        """
        rows, features = self._open(root)
        wanted = [row for name in pictures if (row := _row_of(name, rows)) is not None]
        if len(set(wanted)) < len(set(pictures)):  # a picture of two folds is listed twice
            raise UserError(
                f"{root / self.path} does not tell pictures of the same file name in different folders apart; its "
                f"names should include the folders."
            )
        return feature_rows(features, wanted, f"{root / self.path}: features", _SOURCE)

    def _open(self, root: Path) -> tuple[dict[str, int], np.ndarray]:
        if self._archive is not None:
            return self._archive
        path = find(root, str(Path(self.path).expanduser()), _SOURCE)
        names, features = read_npz(path, ("names", "features"), _SOURCE)
        if names.ndim != 1 or features.ndim != 2 or len(names) != len(features) or features.dtype.kind not in "iuf":
            raise UserError(
                f"{path} should hold as many names as rows of features and holds names of shape {names.shape} and "
                f"features of shape {features.shape}, {features.dtype}; {_SOURCE}."
            )
        rows = {name: row for row, name in enumerate(names.tolist())}
        if len(rows) < len(names):
            raise UserError(f"{path} names {len(names) - len(rows)} pictures twice; {_SOURCE}.")
        self._archive = rows, features
        return self._archive


def _row_of(picture: str, rows: dict[str, int]) -> int | None:
    return rows.get(picture, rows.get(Path(picture).name))
