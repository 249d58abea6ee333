"""Approximate nearest neighbours, for galleries too large to compare every item; needs FAISS.

Douze, Guzhva, Deng, Johnson, Szilvasy, Mazaré, Lomeli, Hosseini, Jégou: The Faiss library, 2024, arXiv:2401.08281.

Records hold exact ranks only. An index is for searching, and `recall` measures what the approximation costs.
"""

from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.errors import UserError
from cmr_lightning.files.whole_file import unfinished

_BLOCK = 2**16  # rows of the gallery read at once
_TRAIN = 2**18  # rows that an index is trained on at most; FAISS recommends 2**17 for 4,096 cells


class Embeddings(Protocol):
    """Embeddings `(G, D)` of any floating-point type: an array, or what reads rows of one, such as `Points`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """G and D."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> NDArray[Any]:
        """Read a range of rows, or rows that rise."""


class ApproximateIndex:
    """An index of FAISS over a gallery, which is read in blocks and so may be mapped from a file.

    Args:
        gallery: Embeddings `(G, D)`.
        distance: `cos` or `l2`.
        description: Argument of FAISS's `index_factory`: `HNSW32` for a graph (Malkov, Yashunin, 2016,
            arXiv:1603.09320), `IVF4096,Flat` for cells of which a few are searched, `IVF4096,PQ64` to compress the
            embeddings in the cells.
        parameters: How much of it is searched, for FAISS's `ParameterSpace`: `efSearch=128`, `nprobe=32`.

    Raises:
        UserError: If FAISS is missing, or does not understand the description or the parameters.
    """

    def __init__(
        self, gallery: Embeddings, distance: Literal["cos", "l2"], description: str, parameters: str = ""
    ) -> None:
        faiss = _faiss()
        self._unit = distance == "cos"
        metric = faiss.METRIC_INNER_PRODUCT if self._unit else faiss.METRIC_L2
        try:
            self._index = faiss.index_factory(gallery.shape[1], description, metric)
            if not self._index.is_trained:
                draw = np.random.default_rng(0).choice(len(gallery), min(len(gallery), _TRAIN), replace=False)
                self._index.train(self._rows(gallery, np.sort(draw)))  # a file is read fastest in its order
            if parameters:
                faiss.ParameterSpace().set_index_parameters(self._index, parameters)
        except RuntimeError as error:
            raise UserError(
                f"FAISS cannot build the index {description!r} with the parameters {parameters!r} for {len(gallery)} "
                f"embeddings of {gallery.shape[1]} numbers: {str(error).rpartition('Error: ')[2]}."
            ) from error
        for start in range(0, len(gallery), _BLOCK):
            self._index.add(self._rows(gallery, slice(start, start + _BLOCK)))

    @classmethod
    def read(cls, path: Path, distance: Literal["cos", "l2"], parameters: str) -> Self:
        """Read what `write` wrote; parameters are not in the file.

        Raises:
            UserError: If FAISS is missing, or the file is missing or damaged.
        """
        faiss = _faiss()
        index = cls.__new__(cls)
        index._unit = distance == "cos"
        try:
            index._index = faiss.read_index(str(path))
            if parameters:
                faiss.ParameterSpace().set_index_parameters(index._index, parameters)
        except RuntimeError as error:
            raise UserError(f"{path} cannot be read by FAISS; search exactly, or index again with --faiss.") from error
        return index

    def write(self, path: Path) -> None:
        """Write a file, whole."""
        _faiss().write_index(self._index, str(unfinished(path)))
        unfinished(path).replace(path)

    def top(self, queries: NDArray, k: int) -> NDArray[np.int64]:
        """Find about the k nearest gallery items of queries `(Q, D)`.

        Returns:
            Positions in the gallery `(Q, k)`, nearest first; -1 where the part that was searched held fewer than k.
        """
        return self.scored(queries, k)[1]

    def scored(self, queries: NDArray, k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Do the same with scores `(Q, k)`: cosines, or distances times -1."""
        values, rows = self._index.search(self._rows(queries, slice(None)), k)
        return values if self._unit else -np.sqrt(np.maximum(values, 0)), rows

    def _rows(self, embeddings: Embeddings, rows: slice | NDArray) -> NDArray[np.float32]:
        """Copy some rows to float32, for the cosine scaled to length 1 unless they are zero."""
        chosen = np.array(embeddings[rows], dtype=np.float32, order="C")
        if self._unit:
            norms = np.linalg.norm(chosen, axis=1, keepdims=True)
            chosen /= np.where(norms > 0, norms, 1)
        return chosen


def recall(found: NDArray, exact: NDArray) -> float:
    """Return the share, 0 to 1, of the nearest neighbours `(Q, k)` that were found; ties make it a lower bound.

    Examples:
        >>> recall(found=np.array([[3, 1], [9, -1]]), exact=np.array([[1, 3], [7, 9]]))
        0.75
    """
    return float(np.mean([np.isin(nearest, those).mean() for nearest, those in zip(exact, found, strict=True)]))


def _faiss() -> Any:
    try:
        import faiss
    except ImportError:
        install = "pip install 'cmr_lightning[faiss]'"
        raise UserError(
            f"An approximate index takes FAISS: {install}; or leave out --faiss, or search with --exact."
        ) from None
    return faiss
