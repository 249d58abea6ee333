"""Searching an index: exactly, shard by shard, or by an approximate index of FAISS."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.model.approximate import ApproximateIndex
from cmr_lightning.model.index_files import APPROXIMATE, Gallery, Item, Kind, Points, read_manifest, thumbnail_file


@dataclass(frozen=True)
class Found:
    """One result of a query.

    Attributes:
        rank: From 1, the best, on.
        score: The cosine, or the distance times -1; larger is better. Compare scores of one query only.
        item: What was found.
        kind: What it is.
    """

    rank: int
    score: float
    item: Item
    kind: Kind


class Index:
    """Pictures and texts that a model has embedded, to be searched.

    Only what a search reads is in memory, so an index may be larger than that.

    Args:
        folder: Its folder.

    Attributes:
        folder: The folder.
        manifest: What is in it, and which model made it.

    Raises:
        UserError: If there is none, or it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.manifest = read_manifest(self.folder)

    def __repr__(self) -> str:
        counts = ", ".join(f"{gallery.count:,} {kind}" for kind, gallery in self.manifest.galleries.items())
        return f"Index({counts}, {self.manifest.dim} numbers, {self.manifest.distance})"

    def search(
        self,
        points: NDArray[np.float32],
        k: int = 10,
        kind: Kind | None = None,
        exactly: bool = False,
        without: Sequence[str | None] | None = None,
    ) -> list[list[Found]]:
        """Find the nearest items of each query.

        Args:
            points: Queries `(Q, D)`, as the model that made the index embeds them.
            k: Number of items for each query; fewer where the index has fewer.
            kind: What is searched, `images` or `texts`; None for images, or texts if there are no images.
            exactly: Compare every item though there is an approximate index.
            without: For each query the SHA-256 of what it shall not find, such as its own picture, or None.

        Raises:
            UserError: If the index has none of that kind, k is below 1, or points are not `(Q, D)` finite numbers.
        """
        kind = self._kind(kind)
        if k < 1:
            raise UserError(f"k is {k}, but should be at least 1.")
        unwanted = [None] * len(points) if without is None else without
        wanted = k if not any(unwanted) else k + 1
        while True:
            found = self._found(points, wanted, kind, exactly)
            kept = [[one for one in of if one[1].sha256 != own] for of, own in zip(found, unwanted, strict=True)]
            if wanted >= self.manifest.galleries[kind].count or all(len(of_query) >= k for of_query in kept):
                break
            wanted *= 2  # copies of what is not wanted took the places
        return [[Found(rank, *one, kind) for rank, one in enumerate(of_query[:k], 1)] for of_query in kept]

    def _found(self, points: NDArray[np.float32], k: int, kind: Kind, exactly: bool) -> list[list[tuple[float, Item]]]:
        scores, rows = self.nearest(points, k, kind, exactly)
        items = self.points(kind).items([row for row in rows.ravel().tolist() if row >= 0])
        return [
            [(score, items[row]) for score, row in zip(*of_query, strict=True) if row >= 0]
            for of_query in zip(scores.tolist(), rows.tolist(), strict=True)
        ]

    def nearest(
        self, points: NDArray[np.float32], k: int, kind: Kind, exactly: bool = False
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores and rows `(Q, min(k, N))` of the nearest items, best first; -1 for a row that was not found."""
        dim = self.manifest.dim
        if points.ndim != 2 or points.shape[1] != dim or not np.isfinite(points).all():
            raise UserError(f"Queries are finite numbers of shape (Q, {dim}), and these have {points.shape}.")
        gallery = self.manifest.galleries[kind]
        if not exactly and gallery.approximate is not None:
            return self._approximate[kind].scored(points, min(k, gallery.count))
        return _nearest(points, self.points(kind), k, self.manifest.distance)

    def points(self, kind: Kind) -> Points:
        """Return the points of pictures or of texts."""
        return Points(self.folder / kind, self.manifest.galleries[kind].shards, self.manifest.dim)

    def file(self, item: Item) -> Path | None:
        """Return the picture file of an item, whether or not it is still there; None if it is in none."""
        return Path(self.manifest.root, item.path) if item.path else None

    def thumbnail(self, item: Item) -> Path | None:
        """Return the small picture of an item, None if there is none."""
        path = thumbnail_file(self.folder, item.sha256)
        return path if path.is_file() else None

    def _kind(self, kind: Kind | None) -> Kind:
        galleries: dict[Kind, Gallery] = self.manifest.galleries
        if kind is None:
            return "images" if "images" in galleries else "texts"
        if kind not in galleries:
            raise UserError(f"The index {self.folder} has no {kind}, only {' and '.join(galleries)}.")
        return kind

    @cached_property
    def _approximate(self) -> dict[Kind, ApproximateIndex]:
        made = {kind: gallery.approximate for kind, gallery in self.manifest.galleries.items()}
        return {
            kind: ApproximateIndex.read(self.folder / kind / APPROXIMATE, self.manifest.distance, of.parameters)
            for kind, of in made.items()
            if of is not None
        }


def _nearest(
    points: NDArray[np.float32], gallery: Points, k: int, distance: str
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Compare every point of a gallery, a shard at a time."""
    queries = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))
    if distance == "cos":
        queries = torch.nn.functional.normalize(queries, dim=1)
    scores, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    for first, block in gallery.blocks():
        similar = _scores(queries, torch.from_numpy(block), distance)
        best = similar.topk(min(k, similar.shape[1]), dim=1)
        scores = torch.cat([scores, best.values], dim=1)
        rows = torch.cat([rows, best.indices + first], dim=1)
        chosen = scores.topk(min(k, scores.shape[1]), dim=1)
        scores, rows = chosen.values, rows.gather(1, chosen.indices)
    return scores.numpy(), rows.numpy()


def _scores(queries: Tensor, block: Tensor, distance: str) -> Tensor:
    """Return cosines with points of unit length, or Euclidean distances times -1, `(Q, n)`."""
    return queries @ block.T if distance == "cos" else -_distances(queries, block)


def _distances(queries: Tensor, block: Tensor) -> Tensor:
    """Return Euclidean distances `(Q, n)`; by products of matrices, small ones would be off."""
    return torch.cdist(queries, block, compute_mode="donot_use_mm_for_euclid_dist")
