from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from cmr_lightning.errors import UserError
from cmr_lightning.methods.triplet import Triplet
from cmr_lightning.methods.vsepp import VSEpp
from tests.cmr_lightning.methods.reach import ENCODERS, first_batch, losses, reached, toy_method
from tests.toy import Toy


@pytest.mark.parametrize("level", ["label", "instance"])
@pytest.mark.parametrize("mining", ["hardest", "sum"])
def test_triplet_is_the_sum_over_the_batch_of_what_the_negatives_violate(level: str, mining: str) -> None:
    data = Toy(num_train=20, captions=3, level=level)
    model, batch = toy_method(VSEpp, data, mining=mining), first_batch(data)
    group = (batch.label if level == "label" else batch.image_id).tolist()
    images, texts = model.embed(batch).pair
    s = [[cosine_similarity(v, t, dim=0).item() for t in texts] for v in images]
    together = {"hardest": max, "sum": sum}[mining]
    expected = 0.0
    for i, of in enumerate(group):
        others = [j for j, other in enumerate(group) if other != of]
        expected += together(max(0.0, 0.2 - s[i][i] + s[i][j]) for j in others)
        expected += together(max(0.0, 0.2 - s[i][i] + s[j][i]) for j in others)
    assert losses(model, batch)["triplet"].item() == pytest.approx(expected, rel=1e-4)
    assert len(set(group)) < len(group)  # some pairs are spared


def test_captions_of_one_image_are_not_negatives() -> None:
    data = Toy(captions=5, level="instance")
    batch = first_batch(data)
    batch = batch._replace(image_id=torch.zeros_like(batch.image_id))
    assert losses(toy_method(VSEpp, data), batch)["triplet"] == 0


def test_all_negatives_violate_no_less_than_the_hardest() -> None:
    data = Toy()
    batch = first_batch(data)
    hardest, every = (losses(toy_method(VSEpp, data, mining=mining), batch)["triplet"] for mining in ("hardest", "sum"))
    assert 0 < hardest < every


def test_it_is_the_triplet_baseline_times_the_size_of_the_batch() -> None:
    data = Toy(batch_size=16)
    batch = first_batch(data)
    baseline = toy_method(Triplet, data, discriminator=None)
    assert losses(toy_method(VSEpp, data), batch)["triplet"].item() == pytest.approx(
        16 * losses(baseline, batch)["triplet"].item()
    )


@pytest.mark.parametrize("term", ["triplet", "adversarial"])
def test_each_term_reaches_both_encoders_and_nothing_else(term: str) -> None:
    data = Toy()
    assert reached(toy_method(VSEpp, data), first_batch(data), term) == ENCODERS


def test_it_plays_against_an_adversary_only_if_asked_to() -> None:
    data = Toy()
    assert toy_method(VSEpp, data, discriminator=None).weights == {"triplet": 1.0, "adversarial": 0.0}
    with pytest.raises(UserError, match=r"model\.discriminator"):
        toy_method(VSEpp, data, discriminator=None, weights={"adversarial": 1.0})
