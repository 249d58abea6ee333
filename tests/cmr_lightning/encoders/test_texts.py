from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.batch import Tokens, Words
from cmr_lightning.encoders import WordRNN
from cmr_lightning.encoders.texts import read_word_vectors
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


NAMED = Words(4, 9, words=("<pad>", "dog", "cat", "tortoise"))


def written(folder: Path, text: str) -> Path:
    path = folder / "vectors.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_embeddings_start_from_the_vectors_of_a_file(tmp_path: Path) -> None:
    path = written(tmp_path, "the 9 9\ndog 1 2\ncat -3 4.5\n")
    encoder = rnn(NAMED, embedding=2, vectors=str(path))
    assert encoder.embedding.weight[1:3].tolist() == [[1, 2], [-3, 4.5]]
    assert encoder.embedding.weight[0].tolist() == [0, 0]
    assert encoder.embedding.weight.requires_grad


def test_vectors_of_parts_of_words_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs texts that are served as words"):
        rnn(Words(20, 9), vectors=str(tmp_path))


@pytest.mark.parametrize("header", ["", "3 2\n"])
def test_only_the_words_of_the_vocabulary_are_kept(tmp_path: Path, header: str) -> None:
    path = written(tmp_path, header + "cat 3 4\nthé 5 6\n. . . 0 0\ndog 1 2\ndog 7 8\n")
    rows, vectors = read_word_vectors(path, NAMED.words, 2)
    assert dict(zip(rows.tolist(), vectors.tolist(), strict=True)) == {1: [1, 2], 2: [3, 4]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("dog 1 2 3\ncat 1 2 3\n", r"have 3 numbers \(line 1\); set text_encoder.init_args.embedding to 3"),
        ("cat 1 2\ndog 1 x\n", "Line 2 of .* should be a word and 2 numbers"),
        ("chien 1 2\nchat 1 2\n", "has 0 of the 4 words"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        read_word_vectors(written(tmp_path, text), NAMED.words, 2)
    with pytest.raises(UserError, match=r"nowhere\.txt, given as text_encoder.init_args.vectors, does not exist"):
        read_word_vectors(tmp_path / "nowhere.txt", NAMED.words, 2)
