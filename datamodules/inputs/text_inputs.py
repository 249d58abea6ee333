"""Inputs of text encoders: numbers of words, or word weights."""

from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from torch import Tensor

from cmr_lightning.batch import Tokens, Words
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked, Count, TextLength
from datamodules.inputs.sparse_rows import SparseRows, dense_if_small
from datamodules.inputs.vocabulary import Splitting, Vocabulary, longest
from datamodules.reading.content import Content
from datamodules.reading.listing import Listing


class TextInput(Checked, ABC):
    """Turns the captions that a data set lists into the input of text encoders."""

    reads_captions = True
    """False for features that were published instead of the captions."""

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

    @abstractmethod
    def content(self, listing: Listing) -> Content:
        """Return the input of encoders, caption by caption."""


class WordTokens(TextInput):
    """Input of text encoders that are trained from scratch: numbers of words.

    Args:
        min_count: Least number of times that a word must occur in the training captions to have a number.
        max_length: Most tokens of a text, start and end included; None for as many as the longest training caption.
        splitting: What a word is: `words` are runs of letters and digits, `treebank` the tokens of NLTK, with which
            VSE++ and its successors work.
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
        words = "words" if self.splitting == "words" else "Treebank tokens"
        return f"{words} of at least {self.min_count} in the training captions"

    def words(self, length: int) -> Words:
        """Describe texts of at most `length` tokens, start and end included."""
        return Words(len(self.vocabulary), length, words=self.vocabulary.words)

    def learn(self, train: Listing) -> None:
        """Give a number to each word of the training captions."""
        self.vocabulary = Vocabulary.build(train.captions, self.min_count, self.splitting)
        length = longest(train.captions, self.splitting)
        self.length = min(length, self.max_length or length)

    def content(self, listing: Listing) -> Tokens:
        """Return tokens `(P, L)`."""
        return self.vocabulary.encode(listing.captions, self.length)


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
    """

    def __init__(
        self,
        weighting: Literal["tfidf", "counts"] = "tfidf",
        stop_words: Literal["english"] | None = None,
        sublinear: bool = False,
        min_df: Count = 1,
        max_features: Count | None = None,
    ) -> None:
        kind = partial(TfidfVectorizer, sublinear_tf=sublinear) if weighting == "tfidf" else CountVectorizer
        self.vectorizer = kind(stop_words=stop_words, min_df=min_df, max_features=max_features, dtype=np.float32)
        self.weighting = weighting
        self.sublinear = sublinear

    @property
    def description(self) -> str:
        """The words and their weights."""
        settings = self.vectorizer.get_params()
        words = "all words" if settings["stop_words"] is None else "without English stop words"
        count = ", counts 1 + ln n" if self.sublinear and self.weighting == "tfidf" else ""
        most = "" if settings["max_features"] is None else f", the {settings['max_features']} most frequent"
        kind = "tf-idf of unit length" if self.weighting == "tfidf" else "bag of words"
        return f"{kind}, {words}{count}, in at least {settings['min_df']} training texts{most}"

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
                f"({error}); lower data.text.min_df."
            ) from error

    def content(self, listing: Listing) -> Tensor | SparseRows:
        """Return word weights `(P, D)`, float32; sparse where dense vectors would take much memory."""
        return dense_if_small(self.vectorizer.transform(listing.captions))
