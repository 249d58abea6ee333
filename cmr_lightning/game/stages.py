"""Training in stages: the players that move, what is frozen, rates and weights, and for how many epochs."""

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate

import pytorch_lightning as pl
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_warn
from torch.optim import Optimizer

from cmr_lightning.errors import UserError
from cmr_lightning.game.optimization import inside
from cmr_lightning.game.turns import TwoPlayerModel
from cmr_lightning.parallel.two_player_precision import Player
from cmr_lightning.ranges import Checked, Count, LearningRate, NonNegative


@dataclass(frozen=True)
class Stage(Checked):
    """A part of the training.

    Attributes:
        name: Name in messages.
        epochs: Number of epochs; None, in the last stage only, for all that remain.
        players: The players that move; the other is frozen as a whole.
        frozen: Modules of the moving players that are frozen as well, by their names in the model, such as
            `image_encoder.backbone`. Frozen modules get no gradients and are in evaluation mode, so that neither their
            weights nor their BatchNorm statistics change.
        generator_lr: The generator's learning rate, of which encoders with a `backbone_lr_scale` take their multiple;
            None for that of `model.generator_optimizer`.
        discriminator_lr: The discriminator's learning rate; None for that of `model.discriminator_optimizer`.
        weights: Weights of loss terms that differ from `model.weights`.
        ramp: Let `model.ramp`, where it is on, rise from 0 to 1 within this stage; otherwise it is at 1.
    """

    name: str
    epochs: Count | None = None
    players: list[Player] = field(default_factory=lambda: ["generator", "discriminator"])
    frozen: list[str] = field(default_factory=list)
    generator_lr: LearningRate | None = None
    discriminator_lr: LearningRate | None = None
    weights: dict[str, NonNegative] = field(default_factory=dict)
    ramp: bool = True

    def freezes(self, name: str, owner: Player) -> bool:
        """Tell whether a module or parameter rests in this stage, by its name in the model and the player it is of."""
        return owner not in self.players or any(inside(name, module) for module in self.frozen)


class TrainingStages(pl.Callback):
    """Takes a retriever through stages, one after the other.

    The stage follows from the epoch alone, and everything a stage sets follows from the stage: a resumed run continues
    in the stage in which it was stopped. Stages count epochs of the loader, so `model.accumulate` does not change their
    length. Optimizers hold all parameters in every stage; the frozen ones have no gradients, so that neither steps nor
    weight decay move them.

    While only the discriminator moves, `global_step` stands still, for it counts the generator's updates. The best
    checkpoint is chosen from the first stage on in which all players move.

    Args:
        stages: The stages, in their order.

    Raises:
        UserError: If a stage has no players, or a stage before the last no epochs.
    """

    def __init__(self, stages: list[Stage]) -> None:
        if not stages:
            raise UserError("TrainingStages.stages is empty; name at least one stage.")
        for stage in stages:
            if not stage.players:
                raise UserError(f"In stage {stage.name!r} nobody moves; name its players, or leave the stage out.")
            if stage.epochs is None and stage is not stages[-1]:
                raise UserError(f"Stage {stage.name!r} has no epochs; only the last stage may leave them out.")
        self.stages = stages
        self._starts = list(accumulate((stage.epochs or 0 for stage in stages[:-1]), initial=0))

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the stages against model and trainer, and remember what stages change.

        Raises:
            UserError: If a stage asks for what model or trainer do not have.
        """
        model = _trained(pl_module)
        self._check_length(trainer.max_epochs or 0)
        for stage in self.stages:
            _check(stage, model)
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._modules = {name: m for name, m in model.named_modules() if m.training and m is not model}
        players = {player for player, parameters in model.players().items() if parameters}
        self._whole = next((index for index, stage in enumerate(self.stages) if players <= set(stage.players)), 0)
        self._weights = dict(model.weights)
        self._ramp = model.ramp
        self._rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in trainer.optimizers]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Apply the stage: in a run resumed within an epoch, `on_train_epoch_start` is not called for that epoch."""
        self._set(trainer, _trained(pl_module))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Apply the stage, and announce it when it begins."""
        self._set(trainer, _trained(pl_module))
        if trainer.current_epoch in self._starts:
            stage = self._index(trainer.current_epoch)
            rank_zero_info(f"Stage {stage + 1} of {len(self.stages)}: {self.stages[stage].name}.")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the model: everything moves."""
        model = _trained(pl_module)
        self._freeze(Stage("after the training"), model)
        model.active, model.preparing = {"generator", "discriminator"}, False
        model.weights, model.ramp, model.stage_span = self._weights, self._ramp, None

    def _check_length(self, max_epochs: int) -> None:
        if max_epochs < 1:
            raise UserError(
                "TrainingStages counts in epochs; set trainer.max_epochs (trainer.max_steps may end it earlier)."
            )
        last = self.stages[-1].epochs
        if last is not None and max_epochs > self._starts[-1] + last:
            raise UserError(
                f"trainer.max_epochs is {max_epochs}, but the stages end after {self._starts[-1] + last}; set "
                f"trainer.max_epochs to that, or leave the epochs of the last stage out."
            )
        missed = [stage.name for stage, start in zip(self.stages, self._starts, strict=True) if start >= max_epochs]
        if missed:
            rank_zero_warn(
                f"trainer.max_epochs is {max_epochs}, so these stages are never reached: {', '.join(missed)}."
            )

    def _index(self, epoch: int) -> int:
        return bisect_right(self._starts, epoch) - 1

    def _set(self, trainer: pl.Trainer, model: TwoPlayerModel) -> None:
        index = self._index(trainer.current_epoch)
        stage = self.stages[index]
        self._freeze(stage, model)
        model.active = set(stage.players)
        model.preparing = index < self._whole
        model.weights = {**self._weights, **stage.weights}
        model.ramp = self._ramp and stage.ramp
        model.stage_span = self._updates(index, trainer, model)
        if model.schedule is None:
            self._set_rates(trainer.optimizers, stage)

    def _set_rates(self, optimizers: list[Optimizer], stage: Stage) -> None:
        rates = (stage.generator_lr, stage.discriminator_lr)[: len(optimizers)]
        for optimizer, configured, rate in zip(optimizers, self._rates, rates, strict=True):
            for group, own in zip(optimizer.param_groups, configured, strict=True):
                group["lr"] = own if rate is None else rate * group.get("lr_scale", 1.0)

    def _freeze(self, stage: Stage, model: TwoPlayerModel) -> None:
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(not stage.freezes(name, model.owner(name)))
        for name, module in self._modules.items():
            module.training = not stage.freezes(name, model.owner(name))

    def _updates(self, index: int, trainer: pl.Trainer, model: TwoPlayerModel) -> tuple[int, int] | None:
        """Count the generator updates before the stage and at its end; None if it has none."""
        epochs = trainer.max_epochs or 0
        ends = [*self._starts[1:], epochs]
        updates = [
            model.updates_per_epoch * (min(end, epochs) - start) if "generator" in stage.players else 0
            for stage, start, end in zip(self.stages, self._starts, ends, strict=True)
        ]
        first, last = sum(updates[:index]), sum(updates[: index + 1])
        if trainer.max_steps > 0:
            last = min(last, trainer.max_steps)
        return (first, last) if first < last else None


def _trained(module: pl.LightningModule) -> TwoPlayerModel:
    """Return the model, which must be one that is trained by gradients."""
    if not isinstance(module, TwoPlayerModel):
        raise UserError(f"TrainingStages cannot be used with {type(module).__name__}, which has no training steps.")
    return module


def _check(stage: Stage, model: TwoPlayerModel) -> None:
    """Raise UserError unless the model has what the stage names."""
    where = f"Stage {stage.name!r} of TrainingStages"
    modules = {name for name, _ in model.named_modules()}
    for name in stage.frozen:
        if name not in modules:
            raise UserError(
                f"{where} freezes {name}, which is no module of the model; its modules are "
                f"{', '.join(name for name, _ in model.named_children())}, and those within them."
            )
    owners = {name: model.owner(name) for name, _ in model.named_parameters()}
    present = set(owners.values())
    moving = {
        owners[name]
        for name, p in model.named_parameters()
        if p.requires_grad and not stage.freezes(name, owners[name])
    }
    for player in [player for player in stage.players if player in present] or stage.players:
        if player not in moving:
            raise UserError(f"{where} leaves nothing to train of {player}; take it out of the stage's players.")
    for term, weight in stage.weights.items():
        if term not in model.weights:
            remedy = "; set model.alignment" if term == "alignment" else ""
            raise UserError(
                f"{where} gives a weight to {term}, which this {type(model).__name__} does not have; its terms are "
                f"{', '.join(model.weights)}{remedy}."
            )
        if weight != 0 and term in model.built_on_demand and model.weights[term] == 0:
            raise UserError(
                f"{where} gives {term} a weight, but the model was built without it; give it a weight in model.weights "
                f"too, so that its network is built, and a weight of 0 in the stages that are to do without it."
            )
    if "generator" in stage.players and not any({**model.weights, **stage.weights}.values()):
        raise UserError(f"{where} gives the generator nothing to learn: the weights of all terms are 0.")
    if stage.discriminator_lr is not None and not model.opponents():
        raise UserError(f"{where} has a discriminator_lr, but there is no adversary; set model.alignment.")
    if model.schedule is not None and (stage.generator_lr, stage.discriminator_lr) != (None, None):
        raise UserError(
            f"{where} sets a learning rate, and so does model.schedule after each epoch; leave one of the two out."
        )
