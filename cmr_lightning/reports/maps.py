"""Maps of the common space: where images and texts lie, in two dimensions."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.evaluation.examples import Examples

SIZE = 300
"""Side of a map in the units of the drawing."""

_MARGIN = 8
_PERPLEXITY = 20.0
_ITERATIONS = 300
_TSNE_ITEMS = 150
"""Items of each modality; t-SNE of 300 points takes about a second, its time grows faster than their number."""

Points = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Dots:
    """The items of one modality and one class, as the path of an SVG that draws a dot for each."""

    modality: str
    class_index: int
    path: str


def pca_map(examples: Examples) -> list[Dots]:
    """Map the first two principal components."""
    points = {
        modality: np.pad(found[:, :2].astype(np.float32), ((0, 0), (0, max(0, 2 - found.shape[1]))))
        for modality, found in examples.points.items()
    }
    return _dots(points, {m: rows.tolist() for m, rows in examples.point_rows.items()}, examples)


def tsne_map(examples: Examples) -> list[Dots]:
    """Map an evenly thinned selection by t-SNE (van der Maaten and Hinton, JMLR 2008) of principal components."""
    from sklearn.manifold import TSNE  # here, because it takes seconds to import

    chosen = {
        modality: np.linspace(0, len(found) - 1, min(len(found), _TSNE_ITEMS)).round().astype(int)
        for modality, found in examples.points.items()
    }
    points = np.concatenate([examples.points[m][rows].astype(np.float32) for m, rows in chosen.items()])
    if len(np.unique(points, axis=0)) < 4:
        return []
    perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
    placed = TSNE(init="random", perplexity=perplexity, max_iter=_ITERATIONS, random_state=0).fit_transform(points)
    images = len(chosen["image"])
    rows = {modality: examples.point_rows[modality][indices].tolist() for modality, indices in chosen.items()}
    return _dots({"image": placed[:images], "text": placed[images:]}, rows, examples)


def _dots(points: Points, rows: Mapping[str, list[int]], examples: Examples) -> list[Dots]:
    together = np.concatenate(list(points.values()))
    low, high = together.min(axis=0), together.max(axis=0)
    scale = (SIZE - 2 * _MARGIN) / max(float((high - low).max()), 1e-12)
    offset = (SIZE - (high - low) * scale) / 2
    moves: dict[tuple[str, int], list[str]] = defaultdict(list)
    for modality, found in points.items():
        for row, (x, y) in zip(rows[modality], ((found - low) * scale + offset).round().tolist(), strict=True):
            classes = examples.classes_of(row if modality == "image" else int(examples.owner[row]))
            moves[modality, classes[0] if classes else -1].append(f"M{x:.0f} {y:.0f}h0")
    return [Dots(modality, index, "".join(path)) for (modality, index), path in moves.items()]
