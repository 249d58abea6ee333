"""Published word vectors, of which only the words of a vocabulary are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cmr_lightning.errors import UserError

_LEAST_SHARE = 0.5
"""Below this share of the vocabulary the file is of another language or another writing of words."""


def read_word_vectors(path: Path, words: Sequence[str], size: int) -> tuple[Tensor, Tensor]:
    """Vectors of the words that a file has.

    Args:
        path: Text file with a word and `size` numbers on each line, UTF-8, as GloVe's; a first line of two numbers, as
            word2vec's, is passed over.
        words: V words.
        size: Numbers E of a vector.

    Returns:
        Rows `(M,)` int64 of the words that were found, and their vectors `(M, E)` float32.

    Raises:
        UserError: If there is no such file, its vectors are of another size, or it lacks most of the words.
    """
    if not path.is_file():
        raise UserError(f"{path}, given as text_encoder.init_args.vectors, does not exist.")
    wanted = {word: row for row, word in enumerate(words)}
    found: dict[int, np.ndarray] = {}
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, 1):
            word, *numbers = line.rstrip().split(" ")
            if number == 1 and len(numbers) == 1:
                continue
            if word in wanted and wanted[word] not in found:
                found[wanted[word]] = _vector(numbers, size, path, number)
    share = len(found) / len(words)
    if share < _LEAST_SHARE:
        raise UserError(
            f"{path} has {len(found)} of the {len(words)} words of the training captions, {share:.0%}; give vectors of "
            f"that language, with words in lower case, as text_encoder.init_args.vectors."
        )
    return torch.tensor(list(found)), torch.from_numpy(np.stack(list(found.values())))


def _vector(numbers: Sequence[str], size: int, path: Path, line: int) -> np.ndarray:
    try:
        vector = np.array(numbers, dtype=np.float32)
    except ValueError as error:
        raise UserError(f"Line {line} of {path} should be a word and {size} numbers: {error}.") from error
    if len(vector) != size:
        raise UserError(
            f"The vectors of {path} have {len(vector)} numbers (line {line}); set text_encoder.init_args.embedding to "
            f"{len(vector)}."
        )
    return vector
