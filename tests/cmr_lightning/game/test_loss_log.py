from __future__ import annotations

import pytest
import torch

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.game.loss_log import check_embeddings


def test_large_half_precision_embeddings_are_not_taken_for_overflow() -> None:
    large = torch.full((64, 64), 1e3, dtype=torch.float16)
    check_embeddings(Embeddings(large, large), updates=1)


def test_infinite_embeddings_of_both_signs_are_refused() -> None:
    fine, infinite = torch.zeros(4, 8), torch.tensor([[1.0, torch.inf], [-torch.inf, 1.0]])
    with pytest.raises(UserError, match=r"after 7 updates, because the embeddings of `text` \(inf\) went out"):
        check_embeddings(Embeddings(fine, infinite), updates=7)
