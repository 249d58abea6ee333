import pytest
import torch

from cmr_lightning.evaluation.relevance import Relevance


def test_equal_keys_are_relevant():
    relevance = Relevance(torch.tensor([3, 1]), torch.tensor([1, 3, 3]))
    assert relevance.block(slice(0, 2)).tolist() == [[False, True, True], [True, False, False]]
    assert relevance.block(slice(1, 5)).tolist() == [[True, False, False]]
    assert len(relevance) == 2
    assert relevance.gallery_size == 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_multi_hot_keys_are_relevant_when_they_share_a_class(dtype):
    query = torch.tensor([[1, 1, 0], [0, 0, 0]], dtype=dtype)
    gallery = torch.tensor([[0, 1, 1], [0, 0, 1], [1, 1, 0], [0, 0, 0]], dtype=dtype)
    relevant = Relevance(query, gallery).block(slice(None))
    assert relevant.tolist() == [[True, False, True, False], [False] * 4]


def test_transposed_exchanges_queries_and_gallery():
    relevance = Relevance(torch.tensor([3, 1]), torch.tensor([1, 3, 3]))
    assert torch.equal(relevance.transposed().block(slice(None)), relevance.block(slice(None)).T)


@pytest.mark.parametrize(
    ("query", "gallery"),
    [
        (torch.zeros(3), torch.zeros(3)),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(3, 2)),
        (torch.zeros(3, 4), torch.zeros(3, 2)),
        (torch.zeros(3, 4, 1), torch.zeros(3, 4, 1)),
    ],
)
def test_keys_of_other_forms_are_refused(query, gallery):
    with pytest.raises(ValueError, match="keys"):
        Relevance(query, gallery)
