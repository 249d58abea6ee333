"""Relevance by keys and by lists against explicit loops."""

import pytest
import torch

from cmr_lightning.evaluation.relevance import Positives, Relevance


def test_equal_keys_are_relevant():
    relevance = Relevance(torch.tensor([3, 1]), torch.tensor([1, 3, 3]))
    assert relevance.block(slice(0, 2)).tolist() == [[False, True, True], [True, False, False]]
    assert relevance.block(slice(1, 5)).tolist() == [[True, False, False]]
    assert torch.equal(relevance.transposed().block(slice(None)), relevance.block(slice(None)).T)
    assert (len(relevance), relevance.gallery_size) == (2, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("at_once", [1, 40, 10**6])
@pytest.mark.parametrize("classes", [1, 31, 32, 33, 63, 64, 65, 130])
def test_multi_hot_keys_are_relevant_when_they_share_a_class(classes, at_once, dtype, monkeypatch):
    monkeypatch.setattr("cmr_lightning.evaluation.relevance._CACHE", at_once)
    generator = torch.Generator().manual_seed(classes)
    query, gallery = (torch.rand(n, classes, generator=generator) < 0.5 / classes**0.5 for n in (7, 19))
    query[0] = False
    expected = [[bool((q & g).any()) for g in gallery] for q in query]
    assert Relevance(query.to(dtype), gallery.to(dtype)).block(slice(None)).tolist() == expected
    assert 0 < sum(map(sum, expected)) < 7 * 19


@pytest.mark.parametrize(("query", "gallery"), [([3], [3]), ([3], [3, 2]), ([3, 4], [3, 2]), ([3, 4, 1], [3, 4, 1])])
def test_keys_of_other_forms_are_refused(query, gallery):
    with pytest.raises(ValueError, match="keys"):
        Relevance(torch.zeros(query), torch.zeros(gallery))


def test_positives_are_lists_of_the_queries_that_have_one():
    positives = Positives.of({4: [2, 0], 1: [1], 6: [0, 1, 2]}, gallery_size=3)
    assert positives.rows.tolist() == [1, 4, 6]
    assert (len(positives), positives.gallery_size) == (3, 3)
    expected = [[False, True, False], [True, False, True], [True, True, True]]
    assert positives.block(slice(None)).tolist() == expected
    assert positives.block(slice(1, 9)).tolist() == expected[1:]
    assert positives.to(torch.device("cpu")).block(slice(0, 2)).tolist() == expected[:2]
