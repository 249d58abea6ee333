import re
import sys
from contextlib import nullcontext

import pytest

from cmr_lightning.errors import UserError
from datamodules.inputs import words
from datamodules.inputs.words import character_ngrams, check_training_texts, long_runs, normalised, tokenise
from tests.datamodules.published import flickr8k, pascal_sentence

OF_LATIN_TEXTS = {
    tokenise: re.compile(r"[^\W_]+(?:['’][^\W_]+)*"),
    lambda text: long_runs(normalised(text)): re.compile(r"(?u)\b\w\w+\b"),
}
"""What was a word before marks were kept: published numbers rest on it."""


@pytest.mark.parametrize(
    ("splitting", "text", "expected"),
    [
        ("words", "A dog's T-shirt!", ["a", "dog's", "t", "shirt"]),
        ("words", "Two  men,one BALL.", ["two", "men", "one", "ball"]),
        ("words", "the dog’s 2nd café", ["the", "dog's", "2nd", "café"]),
        ("words", "'quoted' under_score", ["quoted", "under", "score"]),
        ("words", " ... ", []),
        ("treebank", "A dog's T-shirt!", ["a", "dog", "'s", "t-shirt", "!"]),
        ("words", "हिन्दी में लिखी किताब", ["हिन्दी", "में", "लिखी", "किताब"]),
        ("words", "தமிழ் நாட்டின் கோயில்", ["தமிழ்", "நாட்டின்", "கோயில்"]),
        ("words", "มีสุนัข\u200bวิ่งอยู่", ["มีสุนัข", "วิ่งอยู่"]),
        ("words", "كَتَبَ الوَلَدُ", ["كَتَبَ", "الوَلَدُ"]),
        ("words", "me\u0301lange\u0301 a\u0300 cafe\u0301", ["mélangé", "à", "café"]),
        ("words", "Donau\u00addampf\u00adschiff", ["donaudampfschiff"]),
        ("words", "می\u200cخواهم", ["میخواهم"]),
        ("words", "İstanbul'da 2️⃣ ❤️", ["i̇stanbul'da", "2⃣"]),
        ("treebank", "cafe\u0301 soft\u00adly", ["café", "softly"]),
        ("characters", "今天,iPad 新", ["今", "天", "i", "p", "a", "d", "新"]),
        ("characters", "แมวที่", ["แ", "ม", "ว", "ที่"]),
    ],
)
def test_texts_are_split_into_whole_words(splitting, text, expected):
    assert tokenise(text, splitting) == expected


def test_a_text_has_the_same_words_in_whichever_normal_form_it_was_written():
    for text in ("mélangé à l’été", "한국어 문장", "Tiếng Việt"):
        forms = [tokenise(words.unicodedata.normalize(form, text)) for form in ("NFC", "NFD")]
        assert forms[0] == forms[1] != []
        assert [len(word) for word in forms[0]] == [len(word) for word in re.findall(r"[\w’]+", text)]


def test_words_of_published_english_texts_are_those_of_old(real_data):
    texts = [
        text
        for data in (flickr8k.load(real_data / "flickr8k"), pascal_sentence.load(real_data / "pascal_sentence"))
        for part in ("train", "val", "test")
        for text in data.list_part(part).captions
    ]
    assert len(texts) > 30_000
    for split, old in OF_LATIN_TEXTS.items():
        assert all(split(text) == [word.replace("’", "'") for word in old.findall(text.lower())] for text in texts)


@pytest.mark.parametrize("text", ["A dog's T-shirt, 2nd_hand!", "Grüße aus «Köln»: l’été à 20 °C…", "x² + ½ 'n' roll"])
def test_words_of_latin_texts_are_those_of_old(text):
    for split, old in OF_LATIN_TEXTS.items():
        assert split(text) == [word.replace("’", "'") for word in old.findall(text.lower())]


def test_ngrams_stay_inside_words():
    assert character_ngrams("新闻ab") == ["新", "闻", "a", "b", "新闻", "闻a", "ab", "新闻a", "闻ab"]
    assert character_ngrams("新 闻") == ["新", "闻"]


@pytest.mark.parametrize(
    ("texts", "known", "message"),
    [
        (["!", "?"], (), "100% of the words of the training texts are left out or are none; do this"),
        (["a b", "b c", "c c", "c"], ("c",), None),
        (["a b", "b c", "c"], ("c",), "60% of the words of the training texts are left out"),
        (["a b c d e", "f g"], "abcdefg", "100% of the words of the training texts occur once, .*; do this"),
        (["a b c d e", "e f"], "abcdef", None),
    ],
)
def test_training_texts_that_teach_nothing_are_refused(texts, known, message):
    with nullcontext() if message is None else pytest.raises(UserError, match=message):
        check_training_texts(texts, str.split, known, 0.5, "do this")


def test_of_very_many_texts_some_are_looked_at():
    asked = []

    def split(text):
        asked.append(text)
        return ["a"]

    check_training_texts([str(number) for number in range(100_000)], split, "a", 0.5, "do this")
    assert 10_000 < len(asked) <= 20_000
    assert asked[-1] > "99"


def test_treebank_without_nltk(monkeypatch):
    monkeypatch.setitem(sys.modules, "nltk.tokenize", None)
    words._treebank.cache_clear()
    with pytest.raises(UserError, match="pip install nltk"):
        tokenise("a dog", "treebank")
