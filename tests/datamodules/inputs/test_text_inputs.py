import numpy as np
import pytest
import torch

from cmr_lightning.errors import UserError
from datamodules.inputs.text_inputs import WordTokens, WordWeights
from datamodules.inputs.vocabulary import END, START, UNKNOWN
from tests.datamodules.album import captioned

TRAIN = captioned("A dog runs.", "The dog sleeps and sleeps!", "A cat.")
VAL = captioned("A zebra sleeps.", "Giraffes!", "")


def learned(text):
    text.learn(TRAIN)
    return text


def test_words_of_validation_captions_are_unknown():
    text = learned(WordTokens())
    assert text.vocabulary.words[4:] == ("a", "and", "cat", "dog", "runs", "sleeps", "the")
    number = text.vocabulary.words.index
    tokens = text.content(VAL)
    assert tokens.ids.tolist() == [
        [START, number("a"), UNKNOWN, number("sleeps"), END, 0, 0],
        [START, UNKNOWN, END, 0, 0, 0, 0],
        [START, END, 0, 0, 0, 0, 0],
    ]
    assert tokens.mask.sum(1).tolist() == [5, 3, 2]
    assert text.words(7).vocabulary == 4 + 7


def test_rare_words_are_unknown():
    text = learned(WordTokens(min_count=2))
    assert text.vocabulary.words[4:] == ("a", "dog", "sleeps")
    assert (text.content(TRAIN).ids[2] == UNKNOWN).sum() == 1
    assert "at least 2" in text.description


def test_long_captions_are_cut():
    text = learned(WordTokens(max_length=4))
    tokens = text.content(TRAIN)
    assert tokens.ids.shape == (3, 4)
    assert tokens.ids[:, 0].tolist() == [START] * 3
    assert tokens.ids[:, -1].tolist() == [END] * 3
    assert learned(WordTokens(max_length=90)).content(TRAIN).ids.shape == (3, 7)
    with pytest.raises(UserError, match="max_length of WordTokens is 2, but"):
        WordTokens(max_length=2)


def test_tfidf_by_hand():
    """Smoothed as if one more text held every word: idf = ln((1 + 3) / (1 + df)) + 1; rows of unit length."""
    text = learned(WordWeights("tfidf"))
    words = ["and", "cat", "dog", "runs", "sleeps", "the"]
    counts = np.array([[0, 0, 1, 1, 0, 0], [1, 0, 1, 0, 2, 1], [0, 1, 0, 0, 0, 0]])
    assert text.vectorizer.get_feature_names_out().tolist() == words
    idf = np.log(4 / (1 + (counts > 0).sum(0))) + 1
    logarithmic = np.where(counts > 0, 1 + np.log(np.maximum(counts, 1)), 0)
    for words_weights, frequencies in ((text, counts), (learned(WordWeights(sublinear=True)), logarithmic)):
        found = words_weights.content(TRAIN)
        assert found.dtype == torch.float32
        expected = frequencies * idf / np.linalg.norm(frequencies * idf, axis=1, keepdims=True)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_bag_of_words_counts():
    text = learned(WordWeights("counts"))
    assert text.content(TRAIN).tolist() == [[0, 0, 1, 1, 0, 0], [1, 0, 1, 0, 2, 1], [0, 1, 0, 0, 0, 0]]
    assert "bag of words" in text.description


@pytest.mark.parametrize("weighting", ["tfidf", "counts"])
def test_unknown_words_weigh_nothing(weighting):
    found = learned(WordWeights(weighting)).content(VAL)
    assert found[0].count_nonzero() == 1
    assert not found[1:].any()


def test_settings_choose_the_words():
    def words(**settings):
        return learned(WordWeights(**settings)).vectorizer.get_feature_names_out().tolist()

    assert words(min_df=2) == ["dog"]
    assert words(stop_words="english") == ["cat", "dog", "runs", "sleeps"]
    assert words(max_features=2) == ["dog", "sleeps"]
    description = WordWeights(stop_words="english", sublinear=True, min_df=3, max_features=7).description
    assert description == (
        "tf-idf of unit length, without English stop words, counts 1 + ln n, in at least 3 training texts, the 7 most "
        "frequent"
    )


def test_settings_that_leave_no_words_are_refused_and_weights_are_no_tokens():
    with pytest.raises(
        UserError, match=r"leave no words with data\.text\.min_df .*or lower data\.text\.min_df, which is 4"
    ):
        learned(WordWeights(min_df=4))
    with pytest.raises(TypeError, match="makes no tokens"):
        WordWeights().words(5)
    with pytest.raises(UserError, match=r"data\.text\.stop_words is english, but data\.text\.splitting is characters"):
        WordWeights(stop_words="english", splitting="characters")


def checked(text, train):
    text.learn(train)
    text.check(train)


NEWS = captioned("今天北京下雨", "昨天上海下雨", "明天北京有风")


def test_characters_are_words_where_texts_have_no_spaces():
    tokens = WordTokens(splitting="characters")
    tokens.learn(NEWS)
    assert tokens.length == 2 + 6
    assert "characters of at least 1" in tokens.description
    weights = WordWeights(splitting="characters", min_df=2)
    weights.learn(NEWS)
    assert {"北京", "下雨", "天", "北"} <= set(weights.vectorizer.get_feature_names_out())
    assert "one to three characters" in weights.description
    assert weights.content(captioned("天津下雨")).count_nonzero() == 4  # 天, 下, 雨 and 下雨


@pytest.mark.parametrize("kind", [WordTokens, WordWeights])
@pytest.mark.parametrize(
    "texts",
    [
        ("今天北京下雨", "昨天上海下雨", "明天北京有风"),
        ("今日は雨が降る。", "犬が走る", "電車が遅れた"),
        ("วันนี้ฝนตก", "สุนัขวิ่งเร็ว", "รถไฟมาสาย"),
        ("🐶🏖", "🐱", "🚂🌧"),
        ("DSC2231", "IMG4012", "PIC5518"),
    ],
)
def test_texts_without_words_that_other_texts_can_have_are_refused_with_the_remedy(kind, texts):
    with pytest.raises(
        UserError, match=r"set data\.text\.splitting to characters if the texts are in a script without spaces"
    ):
        checked(kind(), captioned(*texts))


def test_shares_of_unknown_words():
    assert learned(WordTokens()).unknown_share(VAL) == pytest.approx(3 / 5)  # zebra, giraffes, and a text without words
    assert learned(WordTokens(max_length=3)).unknown_share(TRAIN) == 0
    assert learned(WordWeights()).unknown_share(VAL) == pytest.approx(3 / 4)  # "a" is too short to be one
    news = WordWeights(splitting="characters")
    news.learn(NEWS)
    assert news.unknown_share(captioned("今天天津下雪")) == pytest.approx(2 / 6)


def test_rare_words_are_refused_where_most_are_rare_but_not_where_few_are_asked_for():
    with pytest.raises(UserError, match=r"^100% of the words .* are left .*or lower data\.text\.min_count, which is 9"):
        checked(WordTokens(min_count=9), TRAIN)
    checked(WordWeights(max_features=1), TRAIN)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (WordTokens, {}),
        (WordTokens, {"min_count": 2, "max_length": 4}),
        (WordTokens, {"splitting": "characters"}),
        (WordWeights, {}),
        (WordWeights, {"weighting": "counts", "max_features": 4}),
        (WordWeights, {"stop_words": "english", "sublinear": True, "min_df": 2}),
        (WordWeights, {"splitting": "characters"}),
    ],
)
def test_what_was_learned_is_all_that_another_needs(kind, settings):
    text, other = learned(kind(**settings)), kind(**settings)
    other.restore(text.learned())
    for part in (TRAIN, VAL):
        for mine, theirs in zip(*map(tensors, (text.content(part), other.content(part))), strict=True):
            assert torch.equal(mine, theirs)
        assert text.unknown_share(part) == other.unknown_share(part)


def tensors(content):
    return content if isinstance(content, tuple) else (content,)
