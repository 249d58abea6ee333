from __future__ import annotations

import pytest
import torch

from cmr_lightning.batch import Features, Pixels, Tokens, Words
from cmr_lightning.encoders import BiGRU
from cmr_lightning.errors import UserError

POOLINGS = ("mean", "max")


def tokens(*texts: list[int], length: int) -> Tokens:
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = True
    return Tokens(ids, mask)


@pytest.fixture(params=POOLINGS)
def encoder(request: pytest.FixtureRequest) -> BiGRU:
    torch.manual_seed(0)
    return BiGRU(Words(20, 9), 5, embedding=6, hidden=4, pooling=request.param)


def test_words_to_the_common_space(encoder: BiGRU) -> None:
    assert encoder(tokens([3, 4], [5], [6, 7, 8, 9], length=9)).shape == (3, 5)


def test_a_text_is_the_same_whatever_pads_it_and_stands_beside_it(encoder: BiGRU) -> None:
    alone = encoder(tokens([3, 4, 5], length=3))
    together = tokens([3, 4, 5], [6, 7, 8, 9, 10, 11], length=9)
    assert torch.allclose(alone[0], encoder(together)[0], atol=1e-6)
    together.ids[~together.mask] = 13
    assert torch.allclose(alone[0], encoder(together)[0], atol=1e-6)


def test_order_of_the_words_matters(encoder: BiGRU) -> None:
    one, other = encoder(tokens([3, 4, 5], [5, 4, 3], length=3))
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_over_the_states_of_the_real_words(pooling: str) -> None:
    torch.manual_seed(0)
    encoder = BiGRU(Words(20, 9), 5, embedding=6, hidden=4, pooling=pooling)  # type: ignore[arg-type]
    states, _ = encoder.gru(encoder.embedding(torch.tensor([[3, 4, 5]])))
    pooled = states.mean(1) if pooling == "mean" else states.amax(1)
    assert torch.allclose(encoder(tokens([3, 4, 5], length=9)), encoder.projection(pooled), atol=1e-6)


@pytest.mark.parametrize("source", [Features(12), Pixels(32)])
def test_other_input_is_refused(source: Features | Pixels) -> None:
    with pytest.raises(UserError, match="BiGRU encodes words, but"):
        BiGRU(source, 5)
