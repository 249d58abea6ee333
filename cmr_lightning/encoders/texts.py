"""Encoder of token sequences that is trained from scratch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from cmr_lightning.batch import Features, Pixels, Tokens, Words
from cmr_lightning.errors import UserError


class BiGRU(nn.Module):
    """Word embeddings, a bidirectional GRU, pooling over the words, a linear layer into the common space.

    Args:
        source: Form of the input; must be words.
        dim: Size D of the common space.
        embedding: Size of a word's embedding.
        hidden: Size of the state in each direction.
        pooling: How the states of the words become one vector.

    Raises:
        UserError: If the data set serves something else than words.
    """

    def __init__(
        self,
        source: Features | Pixels | Words,
        dim: int,
        embedding: int = 128,
        hidden: int = 128,
        pooling: Literal["mean", "max"] = "mean",
    ) -> None:
        super().__init__()
        if not isinstance(source, Words):
            raise UserError(f"BiGRU encodes words, but the data set serves {source}; use FeatureMLP.")
        self.pooling = pooling
        self.embedding = nn.Embedding(source.vocabulary, embedding, padding_idx=0)
        self.gru = nn.GRU(embedding, hidden, batch_first=True, bidirectional=True)
        self.projection = nn.Linear(2 * hidden, dim)

    def forward(self, tokens: Tokens) -> Tensor:
        """Tokens `(N, L)` to embeddings `(N, D)`; what stands at masked places does not matter."""
        lengths = tokens.mask.sum(1)
        packed = pack_padded_sequence(self.embedding(tokens.ids), lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True)
        mask = tokens.mask[:, : states.shape[1], None]
        if self.pooling == "max":
            pooled = states.masked_fill(~mask, torch.finfo(states.dtype).min).amax(1)
        else:
            pooled = states.masked_fill(~mask, 0).sum(1) / lengths[:, None]
        return self.projection(pooled)
