"""The turns of two players: one training step for every method that is trained by gradients."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from cmr_lightning.batch import Batch, DataSpec
from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError
from cmr_lightning.game.balance import gradient_norm
from cmr_lightning.game.game_log import GameLog, OwnGame
from cmr_lightning.game.loss_log import LossLog, check_embeddings, check_losses
from cmr_lightning.game.optimization import OptimizedModel
from cmr_lightning.game.ramp import total_updates
from cmr_lightning.game.schedules import step_schedules
from cmr_lightning.losses import AdversarialMode
from cmr_lightning.parallel.gathering import gather_objects
from cmr_lightning.parallel.random_state import random_state, set_random_state
from cmr_lightning.parallel.two_player_precision import Player, TwoPlayerPrecision


class TwoPlayerModel(OptimizedModel):
    """A generator against a discriminator, or a generator alone, trained by manual optimisation.

    A training step takes these turns:

    1. one forward pass of the encoders serves both players;
    2. the discriminator is updated `discriminator_steps` times on detached embeddings, or once on each of so many
       `fresh_batches`, of which the last is the generator's, too;
    3. the generator is updated once, against the frozen discriminator as it is then;
    4. gradients are clipped per player, learning rates are stepped after each epoch or update;
    5. `global_step`, and with it `max_steps`, checkpoints and the loggers' x-axis, counts generator updates.

    With `accumulate` batches to an update, the discriminator is updated on all of them when the last one comes in, so
    the generator's gradients of the earlier ones are against the discriminator of the update before.

    Args:
        spec: What the model knows of the data.
        **kwargs: See `OptimizedModel`.

    Attributes:
        losses: Means of the losses since they were last logged.
        game: What is known of the game so far.
        stake: While the generator moves, the embeddings and the weighted terms at stake; None at other times.
    """

    def __init__(self, spec: DataSpec, **kwargs: Any) -> None:
        super().__init__(spec, **kwargs)
        self.losses = LossLog()
        self.game = GameLog()
        self.stake: tuple[Embeddings, dict[str, Tensor]] | None = None
        self._window: list[tuple[Batch, Embeddings]] = []
        self._resumed: dict[str, Any] = {}

    # What the players bring ------------------------------------------------------------------------------------------

    @abstractmethod
    def embed_batch(self, batch: Batch) -> tuple[Batch, Embeddings]:
        """Embed a batch; where several processes train, return the batch and the embeddings of all of them."""

    @abstractmethod
    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the method's terms, unweighted, each a scalar that the generator minimises."""

    @abstractmethod
    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms whose sum the discriminator minimises, on detached embeddings."""

    def item_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the method's terms of items by themselves, whatever is paired; by default there are none."""
        return {}

    def alignment_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute what the generator minimises beside the method's own terms; by default nothing."""
        return {}

    def discriminator_state(self, embeddings: Embeddings, labels: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Measure the adversary's discriminator on images and texts with their labels; by default there is none."""
        return {}

    @property
    def adversarial_mode(self) -> AdversarialMode | None:
        """What the generator minimises against the classifier of modalities; None where there is none."""
        return None

    def own_games(self) -> dict[str, OwnGame]:
        """Return, after a validation, the games of the method's own by the terms that it plays them with."""
        return {}

    def after_update(self) -> None:
        """Change parameters after each update of the generator; by default nothing."""

    # Turns -----------------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """Let each player move once, or the discriminator alone on a fresh batch of its own."""
        last, plays = self.trainer.is_last_batch, bool(self.opponents()) and "discriminator" in self.active
        alone = self.fresh_batches and not last and (batch_idx + 1) % self.discriminator_steps != 0
        if alone and not plays:
            return
        with torch.set_grad_enabled(not alone):
            batch, embeddings = self.embed_batch(batch)
        fixed = embeddings.detach()
        if not self._tolerates_overflow:
            check_embeddings(fixed, self.global_step)
        self._window.append((batch, fixed))
        complete = len(self._window) == self.accumulate or last
        if complete and plays:
            self._update_discriminator()
        if alone:
            self._window.clear()
            return
        if "generator" in self.active:
            self._turn("generator")
            self._generator_backward(batch, embeddings, self._batches_of_update(batch_idx))
            if complete:
                self._step_generator()
        if complete:
            self._window.clear()
        if last:
            self._end_epoch()

    @property
    def in_window(self) -> bool:
        """True while gradients of some batches wait for the rest of their update."""
        return bool(self._window)

    def _batches_of_update(self, batch_idx: int) -> int:
        """Count the batches of the current update: the last of an epoch may have fewer than `accumulate`."""
        first = batch_idx + 1 - len(self._window)
        return int(min(self.accumulate, self.trainer.num_training_batches - first))

    def _update_discriminator(self) -> None:
        self._turn("discriminator")
        optimizer = self._optimizers()[1].optimizer
        for _ in range(1 if self.fresh_batches else self.discriminator_steps):
            for batch, embeddings in self._window:
                losses = self.discriminator_losses(batch, embeddings)
                self._note("discriminator", losses, "a smaller model.discriminator_optimizer.lr")
                self.manual_backward(reduce(add, losses.values()) / len(self._window))
            # Straight through the strategy: a step of the LightningOptimizer would be counted in `global_step`.
            self.trainer.strategy.optimizer_step(optimizer, lambda: None)
            optimizer.zero_grad()

    def _generator_backward(self, batch: Batch, embeddings: Embeddings, batches: int) -> None:
        """Backpropagate the share of one batch in the mean over the batches of an update."""
        with frozen(*self.opponents()):
            losses = self.all_losses(batch, embeddings)
        values = self._note("generator", losses, "a smaller weight in model.weights, or model.generator_optimizer.lr,")
        weights = self._present_weights(embeddings, losses)
        weighted = {name: weight * losses[name] for name, weight in weights.items() if weight != 0}
        total = reduce(add, weighted.values()) if weighted else 0 * embeddings.image.sum()
        self.losses.add("generator/total", sum(weights[name] * values[name] for name in weighted))
        self.stake = embeddings, weighted
        self.manual_backward(total / batches)
        self.stake = None

    def all_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """Compute the terms of the generator in the order of their weights; those of pairs only where there are any."""
        losses = self.generator_losses(batch, embeddings) if len(embeddings.image) else {}
        losses |= self.item_losses(batch, embeddings) | self.alignment_losses(batch, embeddings)
        order = [*self.weights, *losses]
        return {name: losses[name] for name in sorted(losses, key=order.index)}

    def _present_weights(self, embeddings: Embeddings, losses: Mapping[str, Tensor]) -> dict[str, float]:
        """Return the weight of each loss; measure what is to have a share, and cut back what has more than its cap."""
        waiting = [name for name in losses if self.balance.waiting(name) and self.weights[name] != 0]
        if waiting:
            self._measure_shares(waiting, embeddings, losses)
        weights = {name: self.weight(name) for name in losses}
        for name, cap in self.caps.items():
            if weights.get(name):
                norms, own = self._gradient_norms([name], embeddings, losses)
                weights[name] = min(weights[name], cap / (1 - cap) * own / norms[name]) if norms[name] else 0.0
        return weights

    def _measure_shares(self, terms: Sequence[str], embeddings: Embeddings, losses: Mapping[str, Tensor]) -> None:
        """Measure the gradients of terms that wait for their weights, and settle these when it is time."""
        begin, end = self.measured_updates
        sums = self.balance.sums()
        if self.global_step >= end and len(sums):
            if self.trainer.world_size > 1:
                sums = self.trainer.strategy.reduce(sums.float().to(self.device), reduce_op="mean")
            self.balance.settle(sums)
            settled = {f"game/weight/{term}": self.balance.weight(term) for term in terms}
            for logger in self.loggers:
                logger.log_metrics(settled, step=self.global_step)
        elif self.global_step >= begin:
            norms, own = self._gradient_norms(terms, embeddings, losses)
            if all(map(math.isfinite, (*norms.values(), own))):  # otherwise fp16 has overflown
                self.balance.add(norms, own)

    def _gradient_norms(
        self, terms: Sequence[str], embeddings: Embeddings, losses: Mapping[str, Tensor]
    ) -> tuple[dict[str, float], float]:
        """Measure the gradients of terms at the embeddings, and that of the method's own terms with their weights."""
        points = self.points_of(embeddings)
        own = [self.weight(name) * loss for name, loss in losses.items() if name not in self.aligning_terms]
        return {t: gradient_norm(points, [losses[t]]).item() for t in terms}, gradient_norm(points, own).item()

    def points_of(self, embeddings: Embeddings) -> list[Tensor]:
        """List the tensors at which gradients are measured, those of `points` that a batch has."""
        tensors = embeddings.tensors()
        return [tensors[name] for name in self.points if name in tensors]

    def _step_generator(self) -> None:
        optimizer = self._optimizers()[0]
        optimizer.step()
        optimizer.zero_grad()
        self.after_update()
        if self.schedule_every == "update":
            step_schedules(self.trainer)
        every = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and self.global_step % every == 0:
            self._log_losses()

    def _turn(self, player: Player) -> None:
        self.player = player
        precision = self.trainer.precision_plugin
        if isinstance(precision, TwoPlayerPrecision):
            precision.turn(player)

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    def _end_epoch(self) -> None:
        """Step the schedules before the epoch's checkpoints are written: `on_train_epoch_end` would come after them."""
        if self.schedule_every == "epoch":
            step_schedules(self.trainer)
        if "generator" not in self.active and self.trainer.log_every_n_steps:  # type: ignore[attr-defined]
            self._log_losses()  # which no update of the generator triggers

    # Checks ----------------------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Refuse to validate, and to save a checkpoint, in the middle of an update, whose gradients would be lost.

        Raises:
            UserError: If gradients wait for the rest of their update, unless the training ends here.
        """
        training = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if training and self.in_window and not self.trainer.should_stop:
            raise self._validated_too_early()

    def _validated_too_early(self) -> UserError:
        return UserError(
            f"A validation may come in the middle of an update, which takes model.accumulate = {self.accumulate} "
            f"batches; set trainer.val_check_interval to a multiple of that, counted in batches, and "
            f"trainer.check_val_every_n_epoch to 1, so that the count restarts in each epoch as updates do."
        )

    @property
    def _tolerates_overflow(self) -> bool:
        """True in fp16, where an overflow is no error: it costs an update and lowers the scale."""
        return isinstance(self.trainer.precision_plugin, TwoPlayerPrecision)

    def _note(self, player: Player, losses: Mapping[str, Tensor], remedy: str) -> dict[str, float]:
        """Return the losses as numbers, and keep them to be logged.

        Raises:
            UserError: If one is not one number, or not finite.
        """
        for name, loss in losses.items():
            if loss.numel() != 1:
                raise UserError(
                    f"{type(self).__name__}.{player}_losses computes {name} of the shape {tuple(loss.shape)}, but a "
                    f"loss is one number, such as the mean over the batch."
                )
        values = {name: loss.item() for name, loss in losses.items()}
        if not self._tolerates_overflow:
            check_losses(player, values, self.global_step, remedy)
        for name, value in values.items():
            self.losses.add(f"{player}/{name}", value)
        return values

    def _log_losses(self) -> None:
        means = self.losses.means()
        precision = self.trainer.precision_plugin
        if isinstance(precision, TwoPlayerPrecision):
            means |= {f"train/{player}/skipped": precision.skipped[player] for player in self.players()}
        # Straight to the loggers: `self.log` would cost a third of a small step.
        for logger in self.loggers:
            logger.log_metrics({**means, "epoch": self.current_epoch}, step=self.global_step)

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep random states, sums of losses and what is known of the game, as a resumed run needs them."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["random_states"] = gather_objects(random_state(self.device))
        checkpoint["sums"] = self.losses.state_dict()
        checkpoint["balance"] = self.balance.state_dict()
        checkpoint["game"] = self.game.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the method, and remember the rest until training starts."""
        super().on_load_checkpoint(checkpoint)
        self.balance.load_state_dict(checkpoint.get("balance", {}))
        self.game.load_state_dict(checkpoint.get("game", {}))
        self._resumed = {key: checkpoint[key] for key in ("random_states", "sums") if key in checkpoint}

    def on_train_start(self) -> None:
        """Restore random states and sums of losses, now that the sanity check has drawn its random numbers.

        Raises:
            UserError: If validations would come in the middle of an update, or the ramp or a share knows no end.
        """
        if self.needs_end:
            total_updates(self.trainer, self.updates_per_epoch)
        interval, batches = self.trainer.val_check_batch, self.trainer.num_training_batches  # None where it is a time
        if self.accumulate > 1 and (interval is None or (interval < batches and interval % self.accumulate)):
            raise self._validated_too_early()
        rank, world_size = self.trainer.global_rank, self.trainer.world_size
        states = self._resumed.get("random_states", [])
        if len(states) == world_size:
            set_random_state(states[rank], self.device)
        elif rank > 0:
            torch.manual_seed(torch.initial_seed() + rank)
        if states and len(states) != world_size:
            rank_zero_warn(
                f"{len(states)} processes wrote the checkpoint and {world_size} continue, with other random numbers."
            )
        self.losses.load_state_dict(self._resumed.get("sums", {}))
        self._resumed = {}


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Let no parameter of `modules` require a gradient inside; gradients still flow through them to their input."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
