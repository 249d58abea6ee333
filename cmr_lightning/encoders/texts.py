"""Encoder of word sequences that is trained from scratch, on word vectors of one's own or published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cmr_lightning.batch import Features, Pixels, Tokens, Words
from cmr_lightning.encoders.word_vectors import read_word_vectors
from cmr_lightning.errors import UserError

_CELLS: dict[str, type[nn.GRU] | type[nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


class WordRNN(nn.Module):
    """Word embeddings, a recurrent network, pooling over the words, a linear layer into the common space.

    A bidirectional LSTM with `max` over time is the text encoder of CMPL (Zhang and Lu 2018), a unidirectional GRU with
    its `last` state that of VSE++ (Faghri et al. 2018); that of an LSTM, with dropout, that of TIRG (Vo et al. 2019).

    Args:
        source: Form of the input; must be words.
        dim: Size D of the common space.
        cell: Which recurrent network.
        embedding: Size of a word's embedding.
        hidden: Size of the state in each direction.
        bidirectional: Whether the text is read from both ends; the states of both directions are concatenated.
        pooling: How the states of the words become one vector: `mean` or `max` over the words, or the `last` state of
            each direction.
        vectors: Path of published word vectors, from which the embeddings of the words that it has start: a text file
            in which a word and its numbers make a line, as GloVe's; None to start at random.
        dropout: Share of that vector's numbers that are left out in training.

    Raises:
        UserError: If the data set serves something else than words, or `vectors` cannot be used.
    """

    def __init__(
        self,
        source: Features | Pixels | Words,
        dim: int,
        cell: Literal["gru", "lstm"] = "gru",
        embedding: int = 128,
        hidden: int = 128,
        bidirectional: bool = True,
        pooling: Literal["mean", "max", "last"] = "mean",
        vectors: str | None = None,
        dropout: float = 0.0,
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
            self.embedding.weight.mul_(numbers.std())  # the other words among these as if they were of them
            self.embedding.weight[rows] = numbers

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens `(N, L)` to embeddings `(N, D)`; what stands at masked places does not matter."""
        lengths = tokens.mask.sum(1).cpu()
        packed = pack_padded_sequence(self.embedding(tokens.ids), lengths, batch_first=True, enforce_sorted=False)
        outputs, last = self.rnn(packed)
        if self.pooling == "last":
            state = last[0] if isinstance(last, tuple) else last  # an LSTM has a cell state beside it
            pooled = state.transpose(0, 1).flatten(1)
        else:
            pooled = self._pooled(pad_packed_sequence(outputs, batch_first=True)[0], tokens.mask)
        return self.projection(self.dropout(pooled))

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        there = mask[:, : states.shape[1], None]
        if self.pooling == "max":
            return states.masked_fill(~there, torch.finfo(states.dtype).min).amax(1)
        return states.masked_fill(~there, 0).sum(1) / there.sum(1)
