from dataclasses import replace

import pytest
import torch

from cmr_lightning.callbacks.retrieved import first_results
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.evaluation import Protocol, measure_composed, per_query
from tests.toy import ToyComposed


def embedded(part) -> Embeddings:
    draw = torch.Generator().manual_seed(0)
    return Embeddings(torch.randn(part.num_images, 8, generator=draw), torch.randn(part.num_texts, 8, generator=draw))


@pytest.mark.parametrize("relevance", ["target", "caption"])
def test_right_results_of_composed_queries_are_those_of_the_measurement(relevance: str) -> None:
    data = ToyComposed(relevance=relevance)
    part, main = data.part("test"), data.protocols[0]
    everything = torch.arange(part.num_texts)
    found, right = first_results(part, embedded(part), main, "c2i", everything, 10)
    assert found.shape == right.shape == (72, 10)
    assert not (found == part.owner[:, None]).any()
    ranks = measure_composed(*embedded(part).pair, part.compositions, [main]).ranks[f"c2i/cos/{relevance}"]
    for k in (1, 5, 10):
        assert right[:, :k].any(1).tolist() == (per_query(ranks, Protocol("recall", relevance, k=k)) == 1).tolist()


def test_in_folds_results_are_of_the_fold_of_the_source() -> None:
    part = ToyComposed().part("test")
    fold = torch.arange(part.num_images) // 4 % 3  # a source with its targets
    folded, main = replace(part, fold=fold), Protocol("recall", "target", k=5, folds=3)
    found, right = first_results(folded, embedded(part), main, "c2i", torch.arange(72), 99)
    assert found.shape == (72, 31)  # 96 images in three folds, less the source
    assert (fold[found] == fold[part.owner][:, None]).all()
    assert right.sum(1).tolist() == [1] * 72
