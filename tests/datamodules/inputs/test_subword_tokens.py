import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from cmr_lightning.batch import Words
from cmr_lightning.encoders import TextTransformer
from cmr_lightning.errors import UserError
from datamodules.inputs.subword_tokens import SubwordTokens
from tests.cmr_lightning.encoders.tiny_bert import VOCABULARY, tiny_bert, write_tiny_bert
from tests.datamodules.album import captioned


def learnt(*captions: str, max_length: int | None = None) -> SubwordTokens:
    tokens = SubwordTokens(str(tiny_bert()), max_length)
    tokens.learn(captioned(*captions))
    return tokens


def test_texts_are_those_of_the_tokenizer_filled_up() -> None:
    tokens = learnt("A dog!", "on it").content(captioned("A dog!", "on it"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert())
    read = [tokenizer.convert_ids_to_tokens(row[row_mask]) for row, row_mask in zip(*tokens, strict=True)]
    assert read[0] == ["[CLS]", "a", "d", "##o", "##g", "!", "[SEP]"]
    assert read[1] == ["[CLS]", "o", "##n", "i", "##t", "[SEP]"]
    assert tokens.ids[1, 6:].tolist() == [0]
    assert tokens.mask.sum(1).tolist() == [7, 6]


def test_length_is_that_of_the_longest_training_caption() -> None:
    tokens = learnt("a b c", "a").content(captioned("a b c d e f"))
    assert tokens.ids.shape == (1, 5)
    assert tokens.ids[0, -1] == VOCABULARY.index("[SEP]")  # cut texts end too


def test_length_is_bounded() -> None:
    assert learnt("a b c d", max_length=4).content(captioned("a b c d")).ids.shape == (1, 4)
    assert learnt("a " * 600).length == 512  # as the tokenizer says of its model


def test_a_tokenizer_is_the_same_whatever_it_has_read() -> None:
    tokens = learnt("a dog")
    first = tokens.learned()
    tokens.content(captioned("a dog runs"))
    assert tokens.learned()["tokenizer"] == first["tokenizer"]
    SubwordTokens(str(tiny_bert())).restore(first)  # it would refuse another
    with pytest.raises(UserError, match=r"has the checksum .*, but the model was trained with one that had 0f"):
        SubwordTokens(str(tiny_bert())).restore({**first, "tokenizer": "0f"})


def test_a_tokenizer_comes_back_without_its_folder(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path / "bert")
    tokens = SubwordTokens(str(tmp_path / "bert"))
    tokens.learn(captioned("a dog!", "on it"))
    shutil.rmtree(tmp_path / "bert")
    again = SubwordTokens(str(tmp_path / "bert"))
    again.revive(tokens.learned())
    for one, other in zip(*(some.content(captioned("a Café", "on", "狗")) for some in (tokens, again)), strict=True):
        assert torch.equal(one, other)


def test_form_fits_the_encoder() -> None:
    tokens = learnt("a dog", "a cat on a mat")
    words = tokens.words(9)
    assert words == Words(len(VOCABULARY), 9, padding=0)
    encoder = TextTransformer(words, 5, str(tiny_bert()))
    assert encoder(tokens.content(captioned("a cow", "a dog runs"))).shape == (2, 5)


def test_vocabulary_of_another_language_is_refused(tmp_path: Path) -> None:
    write_tiny_bert(tmp_path, ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"))
    tokens = SubwordTokens(str(tmp_path))
    tokens.learn(captioned("a a", "a"))
    with pytest.raises(UserError, match=r"^40% of the tokens .* are unknown .* vocabulary of 6 is whole"):
        tokens.learn(captioned("a dog ran"))


def test_share_of_unknown_tokens() -> None:
    tokens = learnt("a dog", "on it")
    assert tokens.unknown_share(captioned("a cat")) == 0
    assert tokens.unknown_share(captioned("狗", "a dog")) == pytest.approx(1 / 9)


def test_missing_tokenizers_and_a_length_without_room_for_a_word_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^some/bert .* its tokenizer .* as data.text.init_args.tokenizer, a folder"):
        SubwordTokens("some/bert").learn(captioned("a"))
    with pytest.raises(
        UserError, match=r"^The folder \./nowhere, given as data.text.init_args.tokenizer, does not exist"
    ):
        SubwordTokens("./nowhere").learn(captioned("a"))
    with pytest.raises(UserError, match=r"cannot be loaded .*tokenizer\.json"):
        SubwordTokens(str(tmp_path)).learn(captioned("a"))
    with pytest.raises(UserError, match="max_length of SubwordTokens is 2"):
        SubwordTokens("bert", max_length=2)
