"""Methods that are solved, not trained: one look at all training pairs, no optimizer."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from cmr_lightning.batch import Pairs
from cmr_lightning.embedding_model import EmbeddingModel


class ClosedForm(EmbeddingModel):
    """An embedding model whose parameters are the solution of an equation.

    `fit` goes through the same loop as for any method, so checkpoints, records and loggers are the same; it ends after
    the first batch, which the model ignores, and its validation.
    """

    needs_gradients: ClassVar[bool] = False

    @abstractmethod
    def solve(self, pairs: Pairs) -> None:
        """Fit to all training pairs at once; what is found goes into buffers."""

    def on_train_start(self) -> None:
        """Solve, before the first validation."""
        self.solve(self.trainer.datamodule.training_pairs())  # type: ignore[attr-defined]

    def configure_optimizers(self) -> None:
        """Nothing to optimise."""

    def training_step(self, batch: Pairs, batch_idx: int) -> None:
        """Nothing to do, and no reason to go on: the pairs were seen at the start."""
        self.trainer.should_stop = True
