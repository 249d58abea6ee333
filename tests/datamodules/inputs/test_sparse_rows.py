import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from cmr_lightning.batch import Features
from datamodules.inputs.sparse_rows import SparseRows, dense_if_small
from datamodules.inputs.text_inputs import WordWeights
from tests.datamodules.album import captioned

DENSE = np.array([[0, 2, 0], [0, 0, 0], [1, 0, 3], [0, 0, 4]])


def test_rows_are_those_of_the_dense_matrix_in_the_order_asked_for() -> None:
    rows = SparseRows(csr_matrix(DENSE))
    index = torch.tensor([3, 0, 0, 2])
    assert len(rows) == 4
    assert rows.form == Features(3)
    assert rows.rows(index).dtype == torch.float32
    assert torch.equal(rows.rows(index), torch.tensor(DENSE, dtype=torch.float32)[index])


def test_fingerprint_tells_numbers_places_and_shapes_apart() -> None:
    numbers, places, wider = DENSE.copy(), DENSE[:, [1, 0, 2]], np.pad(DENSE, ((0, 0), (0, 1)))
    numbers[0, 1] = 5
    fingerprints = [SparseRows(csr_matrix(m)).fingerprint() for m in (DENSE, DENSE.copy(), numbers, places, wider)]
    assert fingerprints[0] == fingerprints[1]
    assert len(set(fingerprints)) == 4


@pytest.mark.parametrize("weighting", ["tfidf", "counts"])
def test_many_word_weights_stay_sparse_and_are_the_same(weighting, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = captioned("red boat at sea", "boat", "sea and sea and sky", "unknown")
    words = WordWeights(weighting)
    words.learn(listing)
    dense = words.content(listing)
    monkeypatch.setattr("datamodules.inputs.sparse_rows.DENSE_ELEMENTS", dense.numel() - 1)
    sparse = words.content(listing)
    assert isinstance(sparse, SparseRows)
    assert torch.equal(sparse.rows(torch.arange(4)), dense)


def test_as_many_elements_as_allowed_become_dense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datamodules.inputs.sparse_rows.DENSE_ELEMENTS", DENSE.size)
    assert torch.equal(dense_if_small(csr_matrix(DENSE)), torch.tensor(DENSE, dtype=torch.float32))
