"""The adversarial game, made visible: who is winning, and what the adversary does to the generator."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.losses import binary_entropy
from cmr_lightning.retriever import Retriever


class AdversarialDiagnostics(pl.Callback):
    """Logs the state of the game every few generator updates, under `game/`.

    - `discriminator_accuracy`: share of items whose modality the discriminator tells, 0 to 1; 0.5 is a fooled one.
    - `discriminator_entropy`: mean entropy of its output, 0 to log 2 = 0.693 nats; near 0 it is saturated, and the
      `reversal` and `entropy` adversaries have no gradient.
    - `gradient_share`: norm of the adversarial terms' gradient at the embeddings, divided by the sum of that norm and
      the norm of the other terms' gradient, 0 to 1.
    - `modality_gap`: distance of the centroids of images and texts, each scaled to length 1, 0 to 2.

    Args:
        every_n_updates: Generator updates between two looks.
    """

    def __init__(self, every_n_updates: int = 50) -> None:
        self.every_n_updates = every_n_updates
        self._looked = -1

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Look at the generator's stake, just before its backward pass frees the graph."""
        if not isinstance(pl_module, Retriever) or pl_module.stake is None:
            return
        update = trainer.global_step
        if update % self.every_n_updates or update == self._looked:
            return
        self._looked = update
        embeddings, terms = pl_module.stake
        values = {"modality_gap": modality_gap(embeddings.detach())}
        if pl_module.discriminator is not None:
            with torch.no_grad():
                values |= discriminator_state(*pl_module.modality_logits(embeddings.detach()))
            values["gradient_share"] = gradient_share(embeddings, terms, pl_module.adversarial_terms)
        for logger in trainer.loggers:
            logger.log_metrics({f"game/{name}": float(value) for name, value in values.items()}, step=update)


def discriminator_state(image_logits: Tensor, text_logits: Tensor) -> dict[str, Tensor]:
    """Accuracy and mean output entropy of the modality classifier, from logits `(N,)` and `(P,)`."""
    right = torch.cat([image_logits > 0, text_logits < 0])
    logits = torch.cat([image_logits, text_logits])
    return {
        "discriminator_accuracy": right.float().mean(),
        "discriminator_entropy": binary_entropy(logits).mean(),
    }


def modality_gap(embeddings: Embeddings) -> Tensor:
    """Distance of the centroids of images and texts after scaling each item to length 1, 0 to 2."""
    centroids = [torch.nn.functional.normalize(e.float(), dim=1).mean(0) for e in embeddings]
    return (centroids[0] - centroids[1]).norm()


def gradient_share(embeddings: Embeddings, terms: dict[str, Tensor], adversarial: tuple[str, ...]) -> Tensor:
    """Share of the adversarial terms in the generator's gradient at the embeddings, 0 to 1.

    Args:
        embeddings: The embeddings that the terms were computed from, with their graph.
        terms: Weighted terms.
        adversarial: Names of the adversarial ones.
    """

    def norm(names: set[str]) -> Tensor:
        parts = [terms[name] for name in sorted(names) if terms[name].requires_grad]
        moving = [e for e in embeddings.sources() if e.requires_grad]  # those of a frozen encoder do not
        if not parts or not moving:
            return embeddings.image.new_zeros(())
        gradients = torch.autograd.grad(torch.stack(parts).sum(), moving, retain_graph=True, materialize_grads=True)
        return torch.stack([g.float().norm() for g in gradients]).norm()

    against, others = norm(set(terms) & set(adversarial)), norm(set(terms) - set(adversarial))
    return against / (against + others).clamp(min=torch.finfo(torch.float32).tiny)
