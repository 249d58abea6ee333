import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import top
from cmr_lightning.model.approximate import ApproximateIndex, recall

pytest.importorskip("faiss")
SIZE, DIM = 3000, 16


@pytest.fixture(scope="module")
def gallery() -> np.ndarray:
    """Embeddings of different lengths, one of them of zeros."""
    draw = np.random.default_rng(0)
    embeddings = draw.normal(size=(SIZE, DIM)) * draw.uniform(0.5, 2, size=(SIZE, 1))
    embeddings[7] = 0
    return embeddings.astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(50, DIM)).astype(np.float32)


def exact(queries: np.ndarray, gallery: np.ndarray, distance: str, k: int) -> np.ndarray:
    return top(torch.from_numpy(queries), torch.from_numpy(gallery), distance, k).numpy()


@pytest.mark.parametrize("distance", ["cos", "l2"])
def test_index_that_searches_everything_is_exact(distance: str, queries: np.ndarray, gallery: np.ndarray) -> None:
    for description, parameters in (("Flat", ""), ("IVF8,Flat", "nprobe=8")):
        found = ApproximateIndex(gallery, distance, description, parameters).top(queries, 10)
        np.testing.assert_array_equal(found, exact(queries, gallery, distance, 10))


@pytest.mark.parametrize("distance", ["cos", "l2"])
def test_the_more_is_searched_the_more_is_found(distance: str, queries: np.ndarray, gallery: np.ndarray) -> None:
    nearest = exact(queries, gallery, distance, 10)
    shares = [
        recall(ApproximateIndex(gallery, distance, "IVF32,Flat", f"nprobe={cells}").top(queries, 10), nearest)
        for cells in (1, 4, 32)
    ]
    assert 0 < shares[0] < shares[1] < shares[2] == 1
    assert recall(ApproximateIndex(gallery, distance, "HNSW32", "efSearch=256").top(queries, 10), nearest) > 0.95


def test_gallery_may_be_mapped_from_a_file(tmp_path: Path, queries: np.ndarray, gallery: np.ndarray) -> None:
    np.save(tmp_path / "gallery.npy", gallery)
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    found = [ApproximateIndex(array, "cos", "IVF8,Flat").top(queries, 5) for array in (mapped, gallery)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("description", "parameters"), [("HNSV32", ""), ("IVF8,Flat", "efSearch=4"), ("IVF5000,Flat", ""), ("PQ5", "")]
)
def test_what_faiss_does_not_understand_is_an_error(description: str, parameters: str, gallery: np.ndarray) -> None:
    with pytest.raises(UserError, match=f"FAISS cannot build the index '{description}' with the parameters"):
        ApproximateIndex(gallery, "cos", description, parameters)


def test_missing_faiss_is_an_error(monkeypatch: pytest.MonkeyPatch, gallery: np.ndarray) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(UserError, match=r"takes FAISS: pip install 'cmr_lightning\[faiss\]'"):
        ApproximateIndex(gallery, "cos", "HNSW32")
