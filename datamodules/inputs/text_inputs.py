"""Inputs of text encoders: numbers of words, or word weights."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from torch import Tensor

from cmr_lightning.batch import Tokens, Words
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked, Count, TextLength
from datamodules.inputs.sparse_rows import SparseRows, dense_if_small
from datamodules.inputs.vocabulary import Vocabulary, longest
from datamodules.inputs.words import (
    MOST_UNKNOWN,
    Splitting,
    character_ngrams,
    check_training_texts,
    long_runs,
    normalised,
    remedy_for_words,
    share_of_unknown,
    tokenise,
)
from datamodules.reading.content import Content
from datamodules.reading.listing import Listing


class TextInput(Checked, ABC):
    """Turns the captions that a data set lists into the input of text encoders."""

    reads_captions = True
    """False for features that were published instead of the captions."""

    most_unknown = MOST_UNKNOWN
    """A part with a larger share of unknown words is refused."""

    remedy = ""
    """What to do then, which ends the message."""

    @property
    @abstractmethod
    def description(self) -> str:
        """The input in words, for the record."""

    def words(self, length: int) -> Words:
        """Describe texts of at most `length` tokens, where texts become tokens."""
        raise TypeError(f"{type(self).__name__} makes no tokens")

    def locate(self, root: Path) -> None:
        """Remember the folder of the data set; not needed by default."""
        del root

    def learn(self, train: Listing) -> None:
        """Learn words and weights from the training captions; nothing to learn by default."""
        del train

    def learned(self) -> dict[str, Any]:
        """Return what was learned, in plain values and tensors, which a checkpoint keeps; nothing by default."""
        return {}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Take what was learned in an earlier training instead of learning it; see `learned`."""
        del learned

    def revive(self, learned: Mapping[str, Any]) -> None:
        """Take what was learned in a training of which no other file may be here; by default as `restore`."""
        self.restore(learned)

    def check(self, train: Listing) -> None:
        """Refuse training captions that teach nothing about others; nothing is refused by default."""
        del train

    def unknown_share(self, listing: Listing) -> float | None:
        """Return the share of a part's words that are unknown, 0 to 1; None, the default, where texts are no words."""
        del listing
        return None

    @abstractmethod
    def content(self, listing: Listing) -> Content:
        """Return the input of encoders, caption by caption."""


class WordTokens(TextInput):
    """Input of text encoders that are trained from scratch: numbers of words.

    Args:
        min_count: Least number of times that a word must occur in the training captions to have a number.
        max_length: Most tokens of a text, start and end included; None for as many as the longest training caption.
        splitting: What a word is: `words` are runs of letters and digits, `characters` these one by one, for scripts
            without spaces between words, such as Chinese, Japanese or Thai, and `treebank` the tokens of NLTK, with
            which VSE++ and its successors work.
    """

    def __init__(
        self, min_count: Count = 1, max_length: TextLength | None = None, splitting: Splitting = "words"
    ) -> None:
        self.min_count = min_count
        self.max_length = max_length
        self.splitting: Splitting = splitting

    @property
    def description(self) -> str:
        """The words."""
        words = "Treebank tokens" if self.splitting == "treebank" else self.splitting
        return f"{words} of at least {self.min_count} in the training captions"

    def words(self, length: int) -> Words:
        """Describe texts of at most `length` tokens, start and end included."""
        return Words(len(self.vocabulary), length, words=self.vocabulary.words)

    @property
    def remedy(self) -> str:  # type: ignore[override]  # depends on the settings
        """What to do where too few words are known."""
        return remedy_for_words(self.splitting, self.min_count, "data.text.min_count")

    def learn(self, train: Listing) -> None:
        """Give a number to each word of the training captions."""
        self.vocabulary = Vocabulary.build(train.captions, self.min_count, self.splitting)
        length = longest(train.captions, self.splitting)
        self.length = min(length, self.max_length or length)

    def learned(self) -> dict[str, Any]:
        """Return the words in the order of their numbers, and the length of texts."""
        return {"words": list(self.vocabulary.words), "length": self.length}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Take the words and the length of an earlier training."""
        self.vocabulary = Vocabulary(tuple(learned["words"]), self.splitting)
        self.length = learned["length"]

    def content(self, listing: Listing) -> Tokens:
        """Return tokens `(P, L)`."""
        return self.vocabulary.encode(listing.captions, self.length)

    def check(self, train: Listing) -> None:
        """Refuse captions most of whose words are unknown or occur once."""
        check_training_texts(train.captions, self._split, self.vocabulary, self.most_unknown, self.remedy)

    def unknown_share(self, listing: Listing) -> float:
        """Return the share of words without a number."""
        return share_of_unknown(map(self._split, listing.captions), self.vocabulary)

    def _split(self, caption: str) -> list[str]:
        return tokenise(caption, self.splitting)


class WordWeights(TextInput):
    """Input of text encoders: a vector of word weights per text, tf-idf or a bag of words.

    Words are lower-cased runs of two or more letters or digits; words and their document frequencies come from the
    training captions alone. Tf-idf vectors are of unit length; a bag of words counts.

    Args:
        weighting: `tfidf` or `counts`.
        stop_words: `english` drops the words on scikit-learn's English list, None keeps all.
        sublinear: Whether a word that occurs n times in a text counts 1 + ln n instead of n; tf-idf only.
        min_df: Least number of training texts that a word must occur in.
        max_features: Keep only that many of the words that are most frequent in training; None keeps all.
        splitting: What is weighed: `words`, or `characters`, the sequences of one to three letters or digits inside
            words, for scripts without spaces between words, such as Chinese, Japanese or Thai.

    Raises:
        UserError: If English words are to be dropped from what is no word.
    """

    def __init__(
        self,
        weighting: Literal["tfidf", "counts"] = "tfidf",
        stop_words: Literal["english"] | None = None,
        sublinear: bool = False,
        min_df: Count = 1,
        max_features: Count | None = None,
        splitting: Literal["words", "characters"] = "words",
    ) -> None:
        if splitting == "characters" and stop_words is not None:
            raise UserError(f"data.text.stop_words is {stop_words}, but data.text.splitting is characters; drop one.")
        kind = partial(TfidfVectorizer, sublinear_tf=sublinear) if weighting == "tfidf" else CountVectorizer
        words = {"preprocessor": normalised, "tokenizer": long_runs, "token_pattern": None}
        self.vectorizer = kind(
            stop_words=stop_words,
            min_df=min_df,
            max_features=max_features,
            dtype=np.float32,
            **(words if splitting == "words" else {"analyzer": character_ngrams}),
        )
        self.weighting = weighting
        self.sublinear = sublinear
        self.splitting: Literal["words", "characters"] = splitting
        if max_features is not None:
            self.most_unknown = 1.0  # words are left out on purpose

    @property
    def description(self) -> str:
        """The words and their weights."""
        settings = self.vectorizer.get_params()
        words = "all words" if settings["stop_words"] is None else "without English stop words"
        if self.splitting == "characters":
            words = "one to three characters"
        count = ", counts 1 + ln n" if self.sublinear and self.weighting == "tfidf" else ""
        most = "" if settings["max_features"] is None else f", the {settings['max_features']} most frequent"
        kind = "tf-idf of unit length" if self.weighting == "tfidf" else "bag of words"
        return f"{kind}, {words}{count}, in at least {settings['min_df']} training texts{most}"

    @property
    def remedy(self) -> str:  # type: ignore[override]  # depends on the settings
        """What to do where too few words are known."""
        return remedy_for_words(self.splitting, self.vectorizer.min_df, "data.text.min_df")

    def learn(self, train: Listing) -> None:
        """Learn words and document frequencies.

        Raises:
            UserError: If the settings leave no word.
        """
        try:
            self.vectorizer.fit(train.captions)
        except ValueError as error:
            raise UserError(
                f"The training texts leave no words with data.text.min_df and data.text.max_features as they are "
                f"({error}); {self.remedy}."
            ) from error

    def learned(self) -> dict[str, Any]:
        """Return the words in the order of their columns, and for tf-idf their inverse document frequencies."""
        words = {"words": self.vectorizer.get_feature_names_out().tolist()}
        return words if self.weighting == "counts" else {**words, "idf": torch.from_numpy(self.vectorizer.idf_)}

    def restore(self, learned: Mapping[str, Any]) -> None:
        """Take the words and the weights of an earlier training."""
        self.vectorizer.vocabulary_ = {word: column for column, word in enumerate(learned["words"])}
        if self.weighting == "tfidf":
            self.vectorizer.idf_ = learned["idf"].numpy()

    def content(self, listing: Listing) -> Tensor | SparseRows:
        """Return word weights `(P, D)`, float32; sparse where dense vectors would take much memory."""
        return dense_if_small(self.vectorizer.transform(listing.captions))

    def check(self, train: Listing) -> None:
        """Refuse captions most of whose words are unknown or occur once."""
        check_training_texts(train.captions, self._split, self.vectorizer.vocabulary_, self.most_unknown, self.remedy)

    def unknown_share(self, listing: Listing) -> float:
        """Return the share of words without a weight."""
        return share_of_unknown(map(self._split, listing.captions), self.vectorizer.vocabulary_)

    @property
    def _split(self) -> Callable[[str], list[str]]:
        """What splits a text into the words that count as known or not: few of the longer sequences are known."""
        if self.splitting == "characters":
            return partial(tokenise, splitting="characters")
        return self.vectorizer.build_analyzer()
