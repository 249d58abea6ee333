"""Words and their numbers, for data sets that serve texts as tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from cmr_lightning.batch import Tokens
from datamodules.inputs.words import Splitting, tokenise

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")


def longest(captions: Iterable[str], splitting: Splitting = "words") -> int:
    """Count the tokens of the longest caption, start and end included; 2 where there are no captions."""
    return 2 + max((len(tokenise(caption, splitting)) for caption in captions), default=0)


@dataclass(frozen=True)
class Vocabulary:
    """The words that a model knows, those of its training captions only.

    Attributes:
        words: The word of each id: `<pad>` 0, `<start>` 1, `<end>` 2, `<unk>` 3, then the words in sorted order.
        splitting: How captions are split into words.
    """

    words: tuple[str, ...]
    splitting: Splitting = "words"

    @classmethod
    def build(cls, captions: Iterable[str], min_count: int = 1, splitting: Splitting = "words") -> Vocabulary:
        """Collect the words that occur at least `min_count` times in the captions.

        Examples:
            >>> Vocabulary.build(["a dog", "a cat"]).words
            ('<pad>', '<start>', '<end>', '<unk>', 'a', 'cat', 'dog')
        """
        counts = Counter(word for caption in captions for word in tokenise(caption, splitting))
        return cls(SPECIAL + tuple(sorted(word for word, n in counts.items() if n >= min_count)), splitting)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, captions: Sequence[str], length: int) -> Tokens:
        """Encode N captions as token ids `(N, length)`, `<start>` first and `<end>` last, padded.

        A caption of more than `length - 2` words loses its last words; an empty one is `<start> <end>`.

        Raises:
            ValueError: If `length` has no room for `<start>` and `<end>`.
        """
        if length < 2:
            raise ValueError(f"length is {length}, but start and end alone are 2 tokens")
        words = (tokenise(caption, self.splitting)[: length - 2] for caption in captions)
        ids = [[START, *(self._ids.get(word, UNKNOWN) for word in of_one), END] for of_one in words]
        return padded(ids, length, PAD)


def padded(texts: Sequence[Sequence[int]], length: int, padding: int) -> Tokens:
    """Fill texts of token ids up to `length` with the id `padding`."""
    ids = torch.full((len(texts), length), padding, dtype=torch.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    return Tokens(ids, torch.arange(length) < lengths[:, None])
