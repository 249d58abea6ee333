"""The file that `predict` writes: the test part in the common space."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BasePredictionWriter

from cmr_lightning.files.whole_file import whole_file
from cmr_lightning.parallel.gathering import gather_rows
from cmr_lightning.runs.run import Run


class EmbeddingsFile(BasePredictionWriter):
    """Writes `embeddings.npz`: `image (M, D)`, `text (P, D)`, `owner (P,)` and `image_names (M,)`.

    For composed data `text` holds the queries, and `source (P,)`, the images that they start from, replaces `owner`.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(write_interval="epoch")
        self.run = run

    def write_on_epoch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, predictions: Any, batch_indices: Sequence[Any]
    ) -> None:
        """Write, on the first process, what all processes embedded; their shares follow on one another."""
        images, texts = (torch.cat(list(batches)) for batches in predictions)
        if trainer.world_size > 1:  # Lightning has put them on the CPU, where NCCL does not reach
            (images,), (texts,) = (gather_rows([part.to(pl_module.device)]) for part in (images, texts))
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        part = data.part("test")
        owner = "source" if data.spec.relevance == "composed" else "owner"
        arrays = {"image": images.cpu().numpy(), "text": texts.cpu().numpy(), owner: part.owner.numpy()}
        self.run.path.mkdir(parents=True, exist_ok=True)
        with whole_file(self.run.embeddings) as file:
            np.savez(file, **arrays, image_names=np.array(part.image_names))
        size = f"{len(images)} images and {len(texts)} texts, {images.shape[1]} numbers each"
        print(f"Wrote {self.run.embeddings}: {size}.")
