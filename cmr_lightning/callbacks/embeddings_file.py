"""What `predict` leaves behind: the test part in the common space."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter

from cmr_lightning.runs import Run


class EmbeddingsFile(BasePredictionWriter):
    """Writes `embeddings.npz`: `image (M, D)`, `text (P, D)`, `owner (P,)` and `image_names (M,)`.

    Of composed data `text` are the queries and `owner` their sources.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(write_interval="epoch")
        self.run = run

    def write_on_epoch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        predictions: Sequence[Any],
        batch_indices: Sequence[Any],
    ) -> None:
        """Write, on the first process."""
        if not trainer.is_global_zero:
            return
        part = trainer.datamodule.part("test")  # type: ignore[attr-defined]
        images, texts = (torch.cat(list(batches)).cpu().numpy() for batches in predictions)
        np.savez(
            self.run.embeddings,
            image=images,
            text=texts,
            owner=part.owner.numpy(),
            image_names=np.array(part.image_names),
        )
        print(
            f"Wrote {self.run.embeddings}: {len(images)} images and {len(texts)} texts, {images.shape[1]} numbers each."
        )
