from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.batch import Features, Pixels, Tokens, Words
from cmr_lightning.encoders import WordRNN
from cmr_lightning.errors import UserError

CELLS = ("gru", "lstm")
POOLINGS = ("mean", "max", "last")
WORDS = Words(20, 9)


def tokens(*texts: list[int], length: int) -> Tokens:
    ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros(len(texts), length, dtype=torch.bool)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
        mask[row, : len(text)] = True
    return Tokens(ids, mask)


def rnn(source: Words = WORDS, **kwargs: Any) -> WordRNN:
    torch.manual_seed(0)
    return WordRNN(source, 5, **{"embedding": 6, "hidden": 4, **kwargs})


@pytest.fixture(params=[(c, b, p) for c in CELLS for b in (True, False) for p in POOLINGS], ids=str)
def encoder(request: pytest.FixtureRequest) -> WordRNN:
    cell, bidirectional, pooling = request.param
    return rnn(cell=cell, bidirectional=bidirectional, pooling=pooling)


def test_words_to_the_common_space(encoder: WordRNN) -> None:
    assert encoder(tokens([3, 4], [5], [6, 7, 8, 9], length=9)).shape == (3, 5)


def test_a_text_is_the_same_whatever_pads_it_and_stands_beside_it(encoder: WordRNN) -> None:
    alone = encoder(tokens([3, 4, 5], length=3))
    together = tokens([3, 4, 5], [6, 7, 8, 9, 10, 11], length=9)
    assert torch.allclose(alone[0], encoder(together)[0], atol=1e-6)
    together.ids[~together.mask] = 13
    assert torch.allclose(alone[0], encoder(together)[0], atol=1e-6)


def test_order_of_the_words_matters(encoder: WordRNN) -> None:
    one, other = encoder(tokens([3, 4, 5], [5, 4, 3], length=3))
    assert not torch.allclose(one, other, atol=1e-4)


def test_dropout_is_between_state_and_common_space_and_in_training_alone() -> None:
    text, encoder = tokens([3, 4, 5], length=3), rnn(dropout=0.999999)
    assert torch.equal(encoder(text)[0], encoder.projection.bias)
    assert torch.equal(encoder.eval()(text), rnn()(text))


def test_gradients_reach_all_weights(encoder: WordRNN) -> None:
    encoder(tokens([3, 4, 5], [6, 7], length=4)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_over_the_states_of_the_real_words(cell: str, pooling: str) -> None:
    encoder = rnn(cell=cell, pooling=pooling)
    states, _ = encoder.rnn(encoder.embedding(torch.tensor([[3, 4, 5]])))
    pooled = {
        "mean": states.mean(1),
        "max": states.amax(1),
        "last": torch.cat([states[:, -1, :4], states[:, 0, 4:]], dim=1),  # each direction ends at its own end
    }
    assert torch.allclose(encoder(tokens([3, 4, 5], length=9)), encoder.projection(pooled[pooling]), atol=1e-6)


def test_half_precision() -> None:
    encoder = rnn(pooling="max")
    texts = tokens([3, 4, 5], [6, 7], length=4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = encoder(texts)
    assert torch.allclose(half.float(), encoder(texts), atol=0.05)


@pytest.mark.parametrize("source", [Features(12), Pixels(32)])
def test_other_input_is_refused(source: Features | Pixels) -> None:
    with pytest.raises(UserError, match="WordRNN encodes words, but"):
        WordRNN(source, 5)


NAMED = Words(4, 9, words=("<pad>", "dog", "cat", "tortoise"))


def test_embeddings_start_from_the_vectors_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("the 9 9\ndog 1 2\ncat -3 4.5\n")
    encoder = rnn(NAMED, embedding=2, vectors=str(path))
    assert encoder.embedding.weight[1:3].tolist() == [[1, 2], [-3, 4.5]]
    assert encoder.embedding.weight[0].tolist() == [0, 0]
    assert encoder.embedding.weight.requires_grad


def test_vectors_of_parts_of_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs texts that are served as words"):
        rnn(Words(20, 9), vectors=str(tmp_path))
