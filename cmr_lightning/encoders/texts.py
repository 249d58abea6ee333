"""Encoder of word sequences that is trained from scratch, or from published word vectors."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cmr_lightning.batch import Input, Tokens, Words
from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Checked, Name, Probability, Width

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}

_LEAST_SHARE = 0.5
"""A file of vectors with less of the vocabulary is of another language, or writes words in another way."""


class WordRNN(Checked, nn.Module):
    """Word embeddings, a recurrent network, pooling over the words, a linear layer into the common space.

    A bidirectional LSTM with `max` over time is the text encoder of CMPL (Zhang and Lu 2018), a unidirectional GRU with
    its `last` state that of VSE++ (Faghri et al. 2018); that of an LSTM, with dropout, that of TIRG (Vo et al. 2019).

    Args:
        source: Form of the input; must be words.
        dim: Size D of the common space.
        cell: Kind of recurrent network.
        embedding: Size of a word's embedding.
        hidden: Size of the state in each direction.
        bidirectional: Read the text from both ends, and concatenate the states of both directions.
        pooling: How the states of the words become one vector: `mean` or `max` over the words, or the `last` state of
            each direction.
        vectors: Path of published word vectors, from which the embeddings of the words that it has start: a text file
            in which a word and its numbers make a line, as GloVe's; None to start at random.
        dropout: Probability of dropping a number of the pooled vector.

    Raises:
        UserError: If the data set serves something else than words, or `vectors` cannot be used.
    """

    def __init__(
        self,
        source: Input,
        dim: Width,
        cell: Literal["gru", "lstm"] = "gru",
        embedding: Width = 128,
        hidden: Width = 128,
        bidirectional: bool = True,
        pooling: Literal["mean", "max", "last"] = "mean",
        vectors: Name | None = None,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if not isinstance(source, Words):
            raise UserError(f"WordRNN encodes words, but the data set serves {source}; use FeatureMLP.")
        self.pooling = pooling
        self.embedding = nn.Embedding(source.vocabulary, embedding, padding_idx=source.padding)
        self.rnn = _CELLS[cell](embedding, hidden, batch_first=True, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout)
        self.projection = nn.Linear(hidden * (1 + bidirectional), dim)
        if vectors is not None:
            self._start_from(Path(vectors).expanduser(), source)

    def _start_from(self, path: Path, source: Words) -> None:
        if not source.words:
            raise UserError(
                "text_encoder.init_args.vectors needs texts that are served as words; set data.text to WordTokens."
            )
        rows, numbers = read_word_vectors(path, source.words, self.embedding.embedding_dim)
        with torch.no_grad():
            self.embedding.weight.mul_(numbers.std())  # the words that the file lacks get its scale
            self.embedding.weight[rows] = numbers

    def without_files(self) -> dict[str, Any]:
        """Return the arguments by which it is built again without the files that it started from."""
        return {"vectors": None}

    def forward(self, tokens: Tokens) -> Tensor:
        """Encode tokens `(N, L)` as embeddings `(N, D)`; ids at masked places do not matter."""
        lengths = tokens.mask.sum(1).cpu()
        packed = pack_padded_sequence(self.embedding(tokens.ids), lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.rnn(packed)
        if self.pooling == "last":
            state = last[0] if isinstance(last, tuple) else last  # an LSTM has a cell state beside it
            pooled = state.transpose(0, 1).flatten(1)
        else:
            states, _ = pad_packed_sequence(outputs, batch_first=True)
            pooled = pool(states, tokens.mask[:, : states.shape[1]], self.pooling)
        return self.projection(self.dropout(pooled))


def pool(states: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Pool states `(N, L, H)` to vectors `(N, H)`: their `max` or `mean` where the mask `(N, L)` is true, or `cls`.

    Examples:
        >>> states, mask = torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([[True, True, False]])
        >>> [pool(states, mask, pooling).item() for pooling in ("max", "mean", "cls")]
        [3.0, 2.0, 1.0]
    """
    if pooling == "cls":
        return states[:, 0]
    if pooling == "max":
        return states.masked_fill(~mask[:, :, None], torch.finfo(states.dtype).min).amax(1)
    return states.masked_fill(~mask[:, :, None], 0).sum(1) / mask.sum(1, keepdim=True)


def read_word_vectors(path: Path, words: Sequence[str], size: int) -> tuple[Tensor, Tensor]:
    """Read the vectors of the words that a file has.

    Each line of the file, UTF-8, is a word and `size` = E numbers, as in GloVe's; a first line of two numbers, as in
    word2vec's, is skipped.

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
