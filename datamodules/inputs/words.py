"""Splitting texts into words, and finding out whether a model can know them."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from functools import cache
from typing import Any, Literal

import regex

from cmr_lightning.errors import UserError

Splitting = Literal["words", "treebank", "characters"]
"""How a text is split into words; see `tokenise`."""

MOST_UNKNOWN = 0.5
"""Above this share of unknown words a part is of another language, or its words are none."""

_MOST_ONCE = 0.8
"""Above this share of words that occur once the next text will hardly have a known one: a rule of Good and Turing."""

_LOOKED_AT = 20_000
_LONGEST_NGRAM = 3

_RUN = r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*+"  # with the marks of vowels and tones that most scripts of Asia write
_WORD = regex.compile(rf"{_RUN}(?:['’]{_RUN})*+")
_LONG_RUN = regex.compile(r"[\p{L}\p{N}_][\p{L}\p{N}\p{M}_]++")
_CHARACTER = regex.compile(r"[\p{L}\p{N}]\p{M}*+")
_UNSEEN = regex.compile(r"[\p{Default_Ignorable_Code_Point}--\u200b]", regex.V1)
"""Soft hyphens, joiners, marks of direction; the space of no width does part words, in Thai and Khmer."""


def normalised(text: str) -> str:
    r"""Put a text in lower case and into one form, whichever of Unicode's it was written in, without unseen characters.

    Examples:
        >>> normalised("Cafe\u0301 Donau\u00addampf")
        'café donaudampf'
    """
    lowered = text.lower()
    return lowered if lowered.isascii() else unicodedata.normalize("NFC", _UNSEEN.sub("", lowered))


def tokenise(text: str, splitting: Splitting = "words") -> list[str]:
    """Split a text into lower-cased words.

    `words` are runs of letters and digits of any script, with their marks, and with apostrophes inside them;
    typographic apostrophes become plain ones. `characters` are their letters and digits one by one, each with its
    marks, for scripts that are written without spaces between words. `treebank` are the tokens of NLTK's word
    tokenizer, as in the public code of VSE++, with clitics and punctuation as words of their own: `a`, `dog`, `'s`,
    `t-shirt`, `!`.

    Raises:
        UserError: If NLTK is needed and not installed.

    Examples:
        >>> tokenise("A dog's T-shirt!")
        ['a', "dog's", 't', 'shirt']
        >>> tokenise("今天 TV", "characters")
        ['今', '天', 't', 'v']
    """
    text = normalised(text)
    if splitting == "treebank":
        return _treebank().tokenize(text)
    if splitting == "characters":
        return _CHARACTER.findall(text)
    return [word.replace("’", "'") for word in _WORD.findall(text)]


@cache
def _treebank() -> Any:
    try:
        from nltk.tokenize import NLTKWordTokenizer
    except ModuleNotFoundError:
        raise UserError(
            "data.text.splitting is treebank, which NLTK does; install it by `pip install nltk`, or choose words."
        ) from None
    return NLTKWordTokenizer()


def long_runs(text: str) -> list[str]:
    """List the runs of two or more letters, digits or underscores of a normalised text, with their marks.

    Examples:
        >>> long_runs("a dog's t-shirt")
        ['dog', 'shirt']
    """
    return _LONG_RUN.findall(text)


def character_ngrams(text: str) -> list[str]:
    """List the sequences of one to three neighbouring letters and digits of a text, each with its marks.

    Examples:
        >>> character_ngrams("今天 TV")
        ['今', '天', '今天', 't', 'v', 'tv']
    """
    found = []
    for run in _WORD.findall(normalised(text)):
        letters = _CHARACTER.findall(run)
        for length in range(1, _LONGEST_NGRAM + 1):
            found += ["".join(letters[start : start + length]) for start in range(len(letters) - length + 1)]
    return found


def share_of_unknown(texts: Iterable[Sequence[str]], known: Container[str]) -> float:
    """Return the share of words that are not known; a text without words counts as one that is not.

    Examples:
        >>> share_of_unknown([["a", "dog"], ["a", "cow"], []], known={"a", "dog"})
        0.4
    """
    words = unknown = 0
    for text in texts:
        words += max(len(text), 1)
        unknown += sum(word not in known for word in text) if text else 1
    return unknown / words


def check_training_texts(
    texts: Sequence[str], split: Callable[[str], list[str]], known: Container[str], most_unknown: float, remedy: str
) -> None:
    """Refuse texts of whose words nothing can be learned for other texts: most are unknown, or occur only once.

    Args:
        texts: The training texts; of very many, some are looked at.
        split: Splits a text into words.
        known: The words that a model knows of them.
        most_unknown: The largest share of others that is allowed, 0 to 1.
        remedy: What to do, which ends the message.

    Raises:
        UserError: If it is so.
    """
    looked_at = [split(text) for text in texts[:: 1 + len(texts) // _LOOKED_AT]]
    unknown = share_of_unknown(looked_at, known)
    if unknown > most_unknown:
        raise UserError(f"{unknown:.0%} of the words of the training texts are left out or are none; {remedy}.")
    counts = Counter(word for words in looked_at for word in words)
    once = sum(count == 1 for count in counts.values())
    if once > _MOST_ONCE * counts.total():
        raise UserError(
            f"{once / counts.total():.0%} of the words of the training texts occur once, so that other texts will "
            f"hardly have any of them; {remedy}."
        )


def remedy_for_words(splitting: Splitting, least: int, key: str) -> str:
    """Say what to do where too few words are known: `least` is how often one must occur, by the setting `key`."""
    ways = [f"lower {key}, which is {least}"] if least > 1 else []
    if splitting != "characters":
        ways.insert(
            0,
            "set data.text.splitting to characters if the texts are in a script without spaces between words, such as "
            "Chinese, Japanese or Thai",
        )
    return ", or ".join(ways) or "see that the texts of all parts are in one language"
