"""Nearest neighbours that are only nearly the nearest, in galleries too large to look at every item; needs FAISS.

Douze, Guzhva, Deng, Johnson, Szilvasy, Mazaré, Lomeli, Hosseini, Jégou: The Faiss library, 2024, arXiv:2401.08281.

No number of a record comes from here: records are of exact ranks. An index is for those who search, and `recall` says
what it costs them.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.errors import UserError

_BLOCK = 2**16
"""Rows of the gallery that are read at once."""
_TRAIN = 2**18
"""Most rows that an index is trained on, where it needs training; the guideline of FAISS for 4,096 cells is 2**17."""


class ApproximateIndex:
    """An index of FAISS over a gallery, which is read in blocks: it may be mapped from a file.

    Args:
        gallery: Embeddings `(G, D)` of any floating-point type; the index keeps what it needs in float32 or less.
        distance: `cos` or `l2`.
        description: What FAISS's `index_factory` takes: `HNSW32` for a graph (Malkov, Yashunin, 2016,
            arXiv:1603.09320), `IVF4096,Flat` for cells of which a few are searched, `IVF4096,PQ64` for such of
            compressed embeddings.
        parameters: How much of it is searched, as FAISS's `ParameterSpace` takes it: `efSearch=128`, `nprobe=32`.

    Raises:
        UserError: If FAISS is missing, or does not understand the description or the parameters.
    """

    def __init__(
        self, gallery: NDArray, distance: Literal["cos", "l2"], description: str, parameters: str = ""
    ) -> None:
        faiss = _faiss()
        self._unit = distance == "cos"
        metric = faiss.METRIC_INNER_PRODUCT if self._unit else faiss.METRIC_L2
        try:
            self._index = faiss.index_factory(gallery.shape[1], description, metric)
            if not self._index.is_trained:
                self._index.train(self._rows(gallery, _drawn(len(gallery))))
            if parameters:
                faiss.ParameterSpace().set_index_parameters(self._index, parameters)
        except RuntimeError as error:
            raise UserError(
                f"FAISS cannot build the index {description!r} with the parameters {parameters!r} for {len(gallery)} "
                f"embeddings of {gallery.shape[1]} numbers: {str(error).rpartition('Error: ')[2]}."
            ) from error
        for start in range(0, len(gallery), _BLOCK):
            self._index.add(self._rows(gallery, slice(start, start + _BLOCK)))

    def top(self, queries: NDArray, k: int) -> NDArray[np.int64]:
        """Nearly the best gallery items of every query, best first.

        Args:
            queries: Embeddings `(Q, D)`.
            k: How many.

        Returns:
            Positions in the gallery, `(Q, k)`; -1 where the part that was searched held fewer than k.
        """
        return self._index.search(self._rows(queries, slice(None)), k)[1]

    def _rows(self, embeddings: NDArray, rows: slice | NDArray) -> NDArray[np.float32]:
        """Some rows in float32, for the cosine of length 1 or, where they are zero, 0."""
        chosen = np.array(embeddings[rows], dtype=np.float32, order="C")
        if self._unit:
            norms = np.linalg.norm(chosen, axis=1, keepdims=True)
            chosen /= np.where(norms > 0, norms, 1)
        return chosen


def recall(found: NDArray, exact: NDArray) -> float:
    """Share of the exact nearest neighbours that were found, 0 to 1; a lower bound where some are equally near.

    Args:
        found: Positions in the gallery, `(Q, k)`.
        exact: The k nearest, `(Q, k)`.
    """
    return float(np.mean([np.isin(nearest, those).mean() for nearest, those in zip(exact, found, strict=True)]))


def _drawn(count: int) -> NDArray:
    """The rows that an index is trained on, in their order: a file is read from its beginning to its end."""
    return np.sort(np.random.default_rng(0).choice(count, min(count, _TRAIN), replace=False))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        raise UserError(
            "An approximate index takes FAISS: pip install 'cmr_lightning[faiss]'; or leave --index out to search "
            "exactly."
        ) from None
    return faiss
