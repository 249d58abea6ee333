"""What two players learn by: their parameters, optimizers and schedules, the weights of their losses, and the ramp."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from cmr_lightning.batch import DataSpec
from cmr_lightning.embedding_model import EmbeddingModel
from cmr_lightning.errors import UserError
from cmr_lightning.game.balance import MEASURED, GradientBalance
from cmr_lightning.game.ramp import ramp_height, total_updates
from cmr_lightning.game.schedules import check_options, made_from, parameter_groups, plateaus, try_out
from cmr_lightning.parallel.two_player_precision import Player
from cmr_lightning.ranges import Count, Fraction, Positive

_TRIED = 100
"""Most steps of a schedule that are tried before the training; it is watched in the later ones, too."""

OptimizerFactory = Callable[[Iterable], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class OptimizedModel(EmbeddingModel):
    """A model with an optimizer for the generator and, where there is a discriminator, another one for it.

    Args:
        spec: What the model knows of the data; linked from the datamodule, never set by hand.
        ramp: Let adversarial weights rise from 0 to their value over the training, as `ramp_height` says.
        generator_optimizer: Class and arguments of the generator's optimizer.
        discriminator_optimizer: Class and arguments of the discriminator's optimizer.
        schedule: Class and arguments of the learning-rate schedule of both players.
        schedule_every: The unit of the schedule: epochs, or updates of the generator.
        discriminator_steps: Discriminator updates per generator update.
        fresh_batches: Let the discriminator move once on each of `discriminator_steps` batches, and the generator on
            the last of them, in place of so many updates on one batch; an epoch then has fewer generator updates.
        generator_clip: Largest norm of the generator's gradient.
        discriminator_clip: Largest norm of the discriminator's gradient.
        accumulate: Batches per update.
        shares: Share of the generator's gradient that a term is to have, above 0 and below 1, in place of a plain
            weight. It is measured in the first tenth of the training (`MEASURED`), in which the term does not act and
            its discriminator already learns; the weight that follows is constant, times the term's weight in `weights`.
        caps: Largest share of the generator's gradient that a term may have at any update, above 0 and below 1.

    Attributes:
        weights: Weight of each loss term.
        balance: The factors by which terms get their share.
        active: The players that move; training stages may leave one out.
        stage_span: Generator updates (first, last) of the present stage; None for the whole training.
        preparing: True in a stage before all players move.
        player: The player whose turn it is.
    """

    terms: ClassVar[Mapping[str, float]]
    """The loss terms of the method with their default weights."""

    aligning_terms: ClassVar[tuple[str, ...]] = ("alignment",)
    """The terms that pull the modalities together beside the method's own; they follow the ramp and may have shares."""

    built_on_demand: ClassVar[tuple[str, ...]] = ()
    """The terms with networks of their own, which are built only where `weights` gives the term a weight."""

    points: ClassVar[tuple[str, ...]] = ("image", "text", "loose_image", "loose_text")
    """The tensors of `Embeddings` at which shares of the generator's gradient are measured."""

    weights: dict[str, float]

    def __init__(
        self,
        spec: DataSpec,
        ramp: bool = True,
        generator_optimizer: OptimizerFactory = Adam,
        discriminator_optimizer: OptimizerFactory = Adam,
        schedule: SchedulerFactory | None = None,
        schedule_every: Literal["epoch", "update"] = "epoch",
        discriminator_steps: Count = 1,
        fresh_batches: bool = False,
        generator_clip: Positive | None = None,
        discriminator_clip: Positive | None = None,
        accumulate: Count = 1,
        shares: dict[str, Fraction] | None = None,
        caps: dict[str, Fraction] | None = None,
    ) -> None:
        super().__init__(spec)
        if fresh_batches and accumulate > 1:
            raise UserError(
                "model.fresh_batches gives the discriminator batches of its own, and model.accumulate gives both "
                "players several batches to an update; leave one of the two out."
            )
        self.ramp = ramp
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.schedule = schedule
        self.schedule_every = schedule_every
        self.discriminator_steps = discriminator_steps
        self.fresh_batches = fresh_batches
        self.clip: dict[Player, float | None] = {"generator": generator_clip, "discriminator": discriminator_clip}
        self.accumulate = accumulate
        self.balance = GradientBalance(shares or {})
        self.caps = caps or {}
        self.active: set[Player] = {"generator", "discriminator"}
        self.stage_span: tuple[int, int] | None = None
        self.preparing = False
        self.player: Player = "generator"

    def lr_scales(self) -> dict[nn.Parameter, float]:
        """Map parameters with a learning rate of their own to its multiple of the generator's."""
        return {}

    def opponents(self) -> list[nn.Module]:
        """List the networks of the discriminator's side; none for a generator that plays alone."""
        return []

    def owner(self, name: str) -> Player:
        """Return the player who owns the module or parameter of that name."""
        theirs = [of for of, module in self.named_modules() if any(module is other for other in self.opponents())]
        return "discriminator" if any(inside(name, module) for module in theirs) else "generator"

    def players(self) -> dict[Player, list[nn.Parameter]]:
        """Return trainable parameters by owner: the discriminator's, and all others."""
        theirs = [parameter for network in self.opponents() for parameter in network.parameters()]
        identities = {id(parameter) for parameter in theirs}
        ours = [p for p in self.parameters() if p.requires_grad and id(p) not in identities]
        return {"generator": ours, "discriminator": [p for p in theirs if p.requires_grad]}

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """Make the generator's optimizer, then the discriminator's if there is one, and their schedules.

        Raises:
            UserError: If an optimizer or the schedule does not take its settings, or the schedule gives one rate to
                parameters that should have different ones.
        """
        players = self.players()
        with made_from("model.generator_optimizer"):
            optimizers = [self.generator_optimizer(parameter_groups(players["generator"], self.lr_scales()))]
        check_options(optimizers[0], "model.generator_optimizer")
        for group in optimizers[0].param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)
        if players["discriminator"]:
            with made_from("model.discriminator_optimizer"):
                optimizers.append(self.discriminator_optimizer(players["discriminator"]))
            check_options(optimizers[1], "model.discriminator_optimizer")
        with made_from("model.schedule"):
            schedules = [self.schedule(optimizer) for optimizer in optimizers] if self.schedule else []
        rates = [group["lr"] / group.get("lr_scale", 1.0) for group in optimizers[0].param_groups]
        if not all(math.isclose(rate, rates[0]) for rate in rates[1:]):
            raise UserError(
                "model.schedule gives all parameters one learning rate, which undoes backbone_lr_scale and "
                "backbone_layer_decay of the encoders; choose a schedule that multiplies rates, or leave them out."
            )
        return optimizers, schedules

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient of the player whose turn it is; fp16 gradients are un-scaled by now."""
        limit = self.clip[self.player]
        if limit is not None:
            torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], limit)

    def weight(self, term: str) -> float:
        """Return the present weight of a term: one that aligns follows the ramp, and waits for its share.

        Raises:
            UserError: If the method has no such term.
        """
        if term not in self.weights:
            raise UserError(
                f"{type(self).__name__}.generator_losses computes {term}, which is none of the class's `terms`; those "
                f"are {', '.join(self.weights)}."
            )
        weight = self.weights[term] * self.balance.weight(term)
        if self.ramp and weight != 0 and term in self.aligning_terms:
            return weight * ramp_height(self.progress)
        return weight

    @property
    def progress(self) -> float:
        """Share of the generator updates of `span` that are done, 0 to 1; UserError if the training has no end."""
        first, last = self.span
        return min(1.0, (self.global_step - first) / (last - first))

    @property
    def span(self) -> tuple[int, int]:
        """Generator updates (first, last) of the stage, or of the whole training; UserError if it has no end."""
        return self.stage_span or (0, total_updates(self.trainer, self.updates_per_epoch))

    @property
    def under_way(self) -> bool:
        """False while stages or the measuring of shares prepare the game: no checkpoint is chosen from that time."""
        return not (self.preparing or (self.balance.shares and self.global_step <= self.measured_updates[1]))

    @property
    def measured_updates(self) -> tuple[int, int]:
        """Generator updates (from, to) in which shares are measured, the second not included."""
        first, last = self.span
        begin, end = (part * (last - first) for part in MEASURED)
        return first + math.floor(begin), first + math.ceil(end)

    @property
    def needs_end(self) -> bool:
        """True where the ramp or a share depends on the length of the training."""
        return bool(self.balance.shares) or (self.ramp and any(map(self.weights.get, self.aligning_terms)))

    @property
    def updates_per_epoch(self) -> int:
        """Generator updates of an epoch in which the generator moves."""
        return math.ceil(self.trainer.num_training_batches / self.batches_per_update)

    @property
    def batches_per_update(self) -> int:
        """Batches from one update of the generator to the next."""
        return self.discriminator_steps if self.fresh_batches else self.accumulate

    def on_fit_start(self) -> None:
        """Refuse what would only fail later in the training.

        Raises:
            UserError: If the schedule cannot go on from its start, or waits for a plateau in the wrong mode, as torch's
                default does for mAP; or if the ramp or a share depends on the length of a training without end.
        """
        if self.needs_end:
            total_updates(self.trainer, updates_per_epoch=1)
        if self.schedule is not None:
            try_out(self.schedule, self.trainer.optimizers[0].defaults["lr"], min(self.trainer.max_epochs or 1, _TRIED))
        protocol = self.protocols[0]
        mode = "max" if protocol.higher_is_better else "min"
        if any(plateau.mode != mode for plateau in plateaus(self.trainer)):
            raise UserError(
                f"model.schedule takes a better {protocol.id} for a worse one, and would lower the learning rates of a "
                f"training that goes well; set model.schedule.init_args.mode to {mode}."
            )

    def on_validation_epoch_end(self) -> None:
        """Measure the validation part, and step the schedules that wait for a plateau of its main score."""
        super().on_validation_epoch_end()
        fitting = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if fitting and self.measurement is not None:
            for plateau in plateaus(self.trainer):
                plateau.step(self.measurement.metrics[self.protocols[0].id]["mean"])


def inside(name: str, module: str) -> bool:
    """Tell whether `name` is `module`, or something in it."""
    return name == module or name.startswith(f"{module}.")
