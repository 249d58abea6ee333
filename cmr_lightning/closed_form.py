"""Methods that are not trained by gradients: those that ignore the data, and those that solve an equation."""

from abc import abstractmethod
from typing import ClassVar

from cmr_lightning.batch import Batch
from cmr_lightning.embedding_model import EmbeddingModel


class Untrained(EmbeddingModel):
    """An embedding model with nothing to train.

    `fit` goes through the same loop as for any method, so checkpoints, records and loggers are the same; it ends after
    the first batch, which the model ignores, and its validation.
    """

    needs_gradients: ClassVar[bool] = False

    def configure_optimizers(self) -> None:
        """Make no optimizer."""

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """End the training."""
        self.trainer.should_stop = True


class ClosedForm(Untrained):
    """An embedding model whose parameters are the solution of an equation."""

    @abstractmethod
    def solve(self, pairs: Batch) -> None:
        """Fit to all training pairs at once, into buffers."""

    def on_train_start(self) -> None:
        """Solve, before the first validation."""
        self.solve(self.trainer.datamodule.training_pairs())  # type: ignore[attr-defined]
        for buffer in self.buffers():  # solutions may differ in their signs from machine to machine
            buffer.copy_(self.trainer.strategy.broadcast(buffer))
