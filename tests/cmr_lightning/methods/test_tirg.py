import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from cmr_lightning.game.alignments import ModalityAdversary
from cmr_lightning.losses import soft_triplet
from cmr_lightning.methods.tirg import TIRG
from tests.building import trainer
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import ToyComposed

OWN = {*ENCODERS, "fusion"}


@pytest.mark.parametrize("loss", ["batch_classification", "soft_triplet"])
@pytest.mark.parametrize(("term", "expected"), [("metric", OWN | {"scale"}), ("alignment", OWN)])
def test_which_term_reaches_which_parameters(loss: str, term: str, expected: set[str]) -> None:
    data = ToyComposed()
    model = toy_method(TIRG, data, loss=loss, alignment=ModalityAdversary)
    assert reached(model, first_batch(data), term) == expected


def test_batch_classification_is_that_of_vectors_of_length_s() -> None:
    data = ToyComposed()
    model, batch = toy_method(TIRG, data), first_batch(data)
    targets, queries = (4 * normalize(e, dim=1) for e in model.embed(batch).pair)
    expected = cross_entropy(queries @ targets.T, torch.arange(len(queries)))
    assert losses(model, batch)["metric"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_soft_triplets_hold_everyone_against_each_other() -> None:
    data = ToyComposed(relevance="caption")
    model, batch = toy_method(TIRG, data, loss="soft_triplet"), first_batch(data)
    targets, queries = model.embed(batch).pair
    everyone = ~torch.eye(len(queries), dtype=torch.bool)
    expected = soft_triplet(queries, targets, everyone, 4.0)
    assert losses(model, batch)["metric"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("mask", [False, True])
def test_targets_of_one_caption_are_negatives_unless_masked(mask: bool) -> None:
    data = ToyComposed(relevance="caption")
    model, batch = toy_method(TIRG, data, mask_repeated=mask), first_batch(data)
    batch = batch._replace(image_id=batch.image_id[[0, 0, *range(2, 16)]])
    negatives = model.negatives(batch)
    assert not negatives.diagonal().any()
    assert bool(negatives[0, 1]) is not mask


def test_the_length_is_learned_from_4_and_does_not_move_a_ranking() -> None:
    data = ToyComposed()
    model = toy_method(TIRG, data)
    assert model.scale.item() == 4
    trainer(max_epochs=1).fit(model.train(), data)
    assert model.scale.item() != 4
    rankings = []
    for scale in (1.0, 30.0):
        model.scale.data.fill_(scale)
        trainer().test(model, data, verbose=False)
        rankings.append(model.measurement.metrics)
    assert rankings[0] == rankings[1]
