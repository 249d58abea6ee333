"""The adversarial game, made visible: who is winning, and how strongly the adversary acts on the generator."""

from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from torch import Tensor

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.game.balance import gradient_norm
from cmr_lightning.game.turns import TwoPlayerModel
from cmr_lightning.ranges import Checked, Count


class AdversarialDiagnostics(Checked, pl.Callback):
    """Logs the state of the game every few generator updates, under `game/`.

    - `discriminator_accuracy`: share of items whose modality the discriminator tells, 0 to 1; 0.5 is chance.
    - `discriminator_entropy`: mean entropy of its output, 0 to log 2 = 0.693 nats; near 0 it is saturated, and the
      `reversal` and `entropy` adversaries have no gradient.
    - `critic_gap`: in place of both, where the adversary is a critic: its mean score of images minus that of texts.
    - `gradient_share`: norm of the adversarial terms' gradient at the embeddings, divided by the sum of that norm and
      the norm of the other terms' gradient, 0 to 1.
    - `modality_gap`: distance of the centroids of images and texts, each scaled to length 1, 0 to 2.

    Args:
        every_n_updates: Generator updates from one measurement to the next.
    """

    def __init__(self, every_n_updates: Count = 50) -> None:
        self.every_n_updates = every_n_updates
        self._measured = -1

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Measure the generator's stake, just before its backward pass frees the graph."""
        if not isinstance(pl_module, TwoPlayerModel) or pl_module.stake is None:
            return
        update = trainer.global_step
        if update % self.every_n_updates or update == self._measured:
            return
        self._measured = update
        embeddings, terms = pl_module.stake
        values = {"modality_gap": modality_gap(embeddings.detach())}
        points = [embeddings.tensors()[name] for name in pl_module.points if name in embeddings.tensors()]
        for name in pl_module.aligning_terms:
            if name in terms:
                own = [loss for term, loss in terms.items() if term not in pl_module.aligning_terms]
                values[f"gradient_share/{name}"] = gradient_share(points, terms[name], own)
        for logger in trainer.loggers:
            logger.log_metrics({f"game/{name}": float(value) for name, value in values.items()}, step=update)


def modality_gap(embeddings: Embeddings) -> Tensor:
    """Compute the distance of the centroids of images and texts after scaling each item to length 1, 0 to 2.

    Examples:
        >>> modality_gap(Embeddings(torch.tensor([[3.0, 0.0]]), torch.tensor([[-1.0, 0.0]])))
        tensor(2.)
    """
    images, texts = (torch.nn.functional.normalize(e.float(), dim=1).mean(0) for e in embeddings.pair)
    return (images - texts).norm()


def gradient_share(points: Sequence[Tensor], term: Tensor, own: Sequence[Tensor]) -> Tensor:
    """Compute the share of a weighted term in the norm of the generator's gradient beside the method's own, 0 to 1."""
    against, others = gradient_norm(points, [term]), gradient_norm(points, own)
    return against / (against + others).clamp(min=torch.finfo(torch.float32).tiny)
