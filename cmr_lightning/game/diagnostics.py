"""The adversarial game, made visible: who is winning, and how strongly the adversary acts on the generator."""

import math
from collections.abc import Mapping, Sequence

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from cmr_lightning.game.balance import gradient_norm
from cmr_lightning.game.held_out import held_out_figures, modality_gap
from cmr_lightning.game.turns import TwoPlayerModel
from cmr_lightning.ranges import Checked, Count


class AdversarialDiagnostics(Checked, pl.Callback):
    """Logs the state of the game under `game/`, and keeps in the model what its record says of it.

    Every few generator updates, and in the last of each epoch:

    - `gradient_share`: norm of the weighted term `alignment`'s gradient at the embeddings, divided by the sum of that
      norm and the norm of the method's own terms' gradient, 0 to 1; that of another term such as `rotation` is
      `rotation_share`.
    - `batch_gap`: the modality gap of the batch.

    After each validation, on its items, of which nobody learns: at most 1,000 images, each with one of its texts.

    - `discriminator_accuracy`: share of items whose modality the discriminator tells, 0 to 1; 0.5 is chance. That of a
      critic is for a threshold half-way between its mean scores.
    - `discriminator_entropy`: mean entropy of a classifier's output, 0 to log 2 = 0.693 nats; near 0 it is saturated,
      and the modes `reversal` and `entropy` have no gradient.
    - `critic_gap`: in its place, a critic's mean score of images minus that of texts.
    - `probe_accuracy`: share that a fresh classifier tells from embeddings of length 1, see `probe`; 0.5 where the
      modalities lie alike. `probe_accuracy_raw`: the same with their lengths.
    - `modality_gap`: distance of the centroids of images and texts, each scaled to length 1, 0 to 2.
    - `mmd`: unbiased maximum mean discrepancy of embeddings of length 1; around 0 where the modalities lie alike, also
      below. It sees a difference in spread, which the probe does not.
    - `length_ratio`: mean length of images over that of texts.
    - `rotation_accuracy` and `rotation_probe_accuracy`, of a method that plays with the term `rotation` against a
      discriminator of four angles: the same for these; 0.25 is chance.

    Args:
        every_n_updates: Generator updates from one measurement of the gradient to the next.
    """

    def __init__(self, every_n_updates: Count = 25) -> None:
        self.every_n_updates = every_n_updates
        self._measured = -1

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor) -> None:
        """Measure the generator's stake, just before its backward pass frees the graph."""
        if not isinstance(pl_module, TwoPlayerModel) or pl_module.stake is None:
            return
        update = trainer.global_step
        due = update % self.every_n_updates == 0 or trainer.is_last_batch  # so that short trainings have figures, too
        if not due or update == self._measured:
            return
        self._measured = update
        embeddings, terms = pl_module.stake
        values = {"batch_gap": modality_gap(embeddings.detach()).item()}
        points = pl_module.points_of(embeddings)
        own = [loss for term, loss in terms.items() if term not in pl_module.aligning_terms]
        for term in (term for term in pl_module.aligning_terms if term in terms):  # those that have a weight by now
            share = gradient_share(points, terms[term], own).item()
            if math.isfinite(share):  # otherwise fp16 has overflown
                pl_module.game.note(term, update, share)
                values["gradient_share" if term == "alignment" else f"{term}_share"] = share
        _log(trainer, values)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measure the game on the items of the validation, before its checkpoints are written."""
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        if not fitting or not isinstance(pl_module, TwoPlayerModel) or pl_module.measurement is None:
            return
        with torch.no_grad(), trainer.precision_plugin.forward_context():
            values = held_out_figures(pl_module)
        if values:
            pl_module.game.figures = {key: values[key] for key in values if key != "critic_gap"}
            # shares are means here, and are logged update by update
            numbers = {k: value for k, value in values.items() if isinstance(value, float) and not k.endswith("_share")}
            _log(trainer, {**numbers, "epoch": trainer.current_epoch})


def _log(trainer: pl.Trainer, values: Mapping[str, float]) -> None:
    """Log by hand, so that the x-axis counts generator updates."""
    named = {name if name == "epoch" else f"game/{name}": value for name, value in values.items()}
    for logger in trainer.loggers:
        logger.log_metrics(named, step=trainer.global_step)


def gradient_share(points: Sequence[Tensor], term: Tensor, own: Sequence[Tensor]) -> Tensor:
    """Compute the share of a weighted term in the norm of the generator's gradient beside the method's own, 0 to 1."""
    against, others = gradient_norm(points, [term]), gradient_norm(points, own)
    return against / (against + others).clamp(min=torch.finfo(torch.float32).tiny)
