"""Vectors with few non-zero numbers, such as bags of words: kept sparse, made dense batch by batch."""

import hashlib

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor

from cmr_lightning.batch import Features
from datamodules.reading.content import Stored

DENSE_ELEMENTS = 2**26
"""Vectors with more elements than that, 256 MiB in float32, stay sparse."""


class SparseRows(Stored):
    """Rows of a sparse matrix `(M, D)`, held as float32."""

    def __init__(self, matrix: csr_matrix) -> None:
        self.matrix = matrix.astype(np.float32)

    @property
    def form(self) -> Features:
        """The form of feature vectors."""
        return Features(self.matrix.shape[1])

    def __len__(self) -> int:
        return self.matrix.shape[0]

    def rows(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return dense vectors `(N, D)`, float32; nothing is drawn."""
        return torch.from_numpy(self.matrix[index.numpy()].toarray())

    def fingerprint(self) -> str:
        """Hash all numbers and their positions."""
        digest = hashlib.sha256(str(self.matrix.shape).encode())
        for array in (self.matrix.indptr, self.matrix.indices, self.matrix.data):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def dense_if_small(matrix: csr_matrix) -> Tensor | SparseRows:
    """Return the vectors `(M, D)` as a float32 tensor, or as sparse rows above `DENSE_ELEMENTS` elements."""
    rows = SparseRows(matrix)
    if matrix.shape[0] * matrix.shape[1] > DENSE_ELEMENTS:
        return rows
    return torch.from_numpy(rows.matrix.toarray())
