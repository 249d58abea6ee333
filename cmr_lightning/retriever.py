"""The adversarial game: two players, two optimizers, one training step for every method trained by gradients."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Adam, Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from cmr_lightning.batch import Batch, ComposedQuery, DataSpec, Features, Pixels, Text, Words
from cmr_lightning.embedding_model import EmbeddingModel, Embeddings
from cmr_lightning.encoders.backbone import BackboneEncoder
from cmr_lightning.errors import UserError
from cmr_lightning.losses import AdversarialMode, adversarial_modality, modality_loss, same_class, same_image
from cmr_lightning.parallel.gathering import gather_batch, gather_objects
from cmr_lightning.parallel.random_state import random_state, set_random_state
from cmr_lightning.parallel.two_player_precision import Player, TwoPlayerPrecision

ImageEncoder = Callable[[Features | Pixels, int], nn.Module]
"""Makes an image encoder from the form of its input and the size of the common space."""

TextEncoder = Callable[[Features | Words, int], nn.Module]
"""Makes a text encoder from the form of its input and the size of the common space."""

Discriminator = Callable[[int], nn.Module]
"""Makes a discriminator from the size of the common space."""

OptimizerFactory = Callable[[Iterable], Optimizer]
SchedulerFactory = Callable[[Optimizer], LRScheduler | ReduceLROnPlateau]


class Retriever(EmbeddingModel):
    """Two encoders, the generator, against a discriminator that tries to tell the modalities apart.

    A method names its loss terms in `terms` and computes them in `generator_losses`; if it plays against more than the
    modality classifier, it overrides `discriminator_losses` too. The rest of the training step is here:

    1. one forward pass of the encoders serves both players;
    2. the discriminator is updated `discriminator_steps` times on detached embeddings;
    3. the generator is updated once, against the frozen discriminator as it is now;
    4. gradients are clipped per player, learning rates are stepped after each epoch or update;
    5. `global_step`, and with it `max_steps`, checkpoints and the loggers' x-axis, counts generator updates.

    Where several processes train, each encodes its share of the batch, and all compute the losses of the whole:
    in-batch negatives, items of one class and what the discriminator sees are those of all processes.

    With `accumulate` batches to an update, the discriminator is updated on all of them when the last one comes in, so
    the generator's gradients of the earlier ones are against the discriminator of the update before.

    Args:
        spec: What the model knows of the data; linked from the datamodule, never set by hand.
        image_encoder: Class and arguments of the image encoder.
        text_encoder: Class and arguments of the text encoder.
        dim: Size D of the common space.
        discriminator: Class and arguments of the modality classifier; None for a method without an adversary.
        adversary: What the generator minimises against the discriminator: `reversal`, `flipped` or `entropy`.
        ramp: Whether adversarial weights grow from 0 to their value as 2 / (1 + exp(-10 q)) - 1, q the share of the
            training done (Ganin and Lempitsky 2015).
        weights: Weights of the loss terms that differ from the method's defaults; 0 takes a term out.
        generator_optimizer: Class and arguments of the generator's optimizer.
        discriminator_optimizer: Class and arguments of the discriminator's optimizer.
        schedule: Class and arguments of the learning-rate schedule of both players.
        schedule_every: Whether the schedule counts epochs, or updates of the generator.
        discriminator_steps: Discriminator updates per generator update.
        generator_clip: Largest norm of the generator's gradient.
        discriminator_clip: Largest norm of the discriminator's gradient.
        accumulate: Batches per update.
        compile: Backend of torch.compile, as `inductor`, that both encoders are compiled by; None not to compile.

    Attributes:
        active: The players that move; training stages may leave one out.
        ramp_span: Generator updates (first, last) between which the ramp rises; None for the whole training.
        stake: While the generator moves, the embeddings and the weighted terms at stake; None at other times.

    Raises:
        UserError: If a weight names no term of the method, or a term needs a discriminator and there is none.
    """

    terms: ClassVar[Mapping[str, float]]
    """The loss terms of the method with their default weights."""

    adversarial_terms: ClassVar[tuple[str, ...]] = ("adversarial",)
    """The terms that need a discriminator, and follow the ramp."""

    built_on_demand: ClassVar[tuple[str, ...]] = ()
    """The terms with networks of their own, which are built only where `weights` gives the term a weight."""

    def __init__(
        self,
        spec: DataSpec,
        image_encoder: ImageEncoder,
        text_encoder: TextEncoder,
        dim: int = 200,
        discriminator: Discriminator | None = None,
        adversary: AdversarialMode = "reversal",
        ramp: bool = True,
        weights: dict[str, float] | None = None,
        generator_optimizer: OptimizerFactory = Adam,
        discriminator_optimizer: OptimizerFactory = Adam,
        schedule: SchedulerFactory | None = None,
        schedule_every: Literal["epoch", "update"] = "epoch",
        discriminator_steps: int = 1,
        generator_clip: float | None = None,
        discriminator_clip: float | None = None,
        accumulate: int = 1,
        compile: str | None = None,
    ) -> None:
        super().__init__(spec)
        self.dim = dim
        self.image_encoder = image_encoder(spec.image, dim)
        self.text_encoder = text_encoder(spec.text, dim)
        self.discriminator = None if discriminator is None else discriminator(dim)
        self.adversary = adversary
        self.ramp = ramp
        self.weights = self._complete(weights or {})
        self.generator_optimizer = generator_optimizer
        self.discriminator_optimizer = discriminator_optimizer
        self.schedule = schedule
        self.schedule_every = schedule_every
        self.discriminator_steps = discriminator_steps
        self.clip: dict[Player, float | None] = {"generator": generator_clip, "discriminator": discriminator_clip}
        self.accumulate = accumulate
        self.compile_with = compile
        self.active: set[Player] = {"generator", "discriminator"}
        self.ramp_span: tuple[int, int] | None = None
        self.stake: tuple[Embeddings, dict[str, Tensor]] | None = None
        self._logged_loss: float | None = None
        self._player: Player = "generator"
        self._window: list[tuple[Batch, Embeddings]] = []
        self._sums: defaultdict[str, float] = defaultdict(float)
        self._summed: Counter[str] = Counter()
        self._resumed: dict[str, Any] = {}

    def _complete(self, weights: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(weights) - set(self.terms))
        if unknown:
            raise UserError(
                f"model.weights names {', '.join(unknown)}, which {type(self).__name__} does not have; its terms are "
                f"{', '.join(self.terms)}."
            )
        complete = {**self.terms, **weights}
        played = [term for term in self.adversarial_terms if complete.get(term, 0) != 0]
        if played and self.discriminator is None:
            raise UserError(
                f"{type(self).__name__} gives {', '.join(played)} a weight but has no adversary; set "
                f"model.discriminator, or the weight to 0."
            )
        return complete

    # What a method says ----------------------------------------------------------------------------------------------

    @abstractmethod
    def generator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """The method's terms, unweighted, each a scalar that the generator minimises."""

    def discriminator_losses(self, batch: Batch, embeddings: Embeddings) -> dict[str, Tensor]:
        """What the discriminator minimises on detached embeddings: the modality cross-entropy."""
        return {"modality": modality_loss(*self.modality_logits(embeddings))}

    def after_update(self) -> None:
        """What a method does to its parameters after each update of the generator; nothing by default."""

    def modality_logits(self, embeddings: Embeddings) -> tuple[Tensor, Tensor]:
        """The discriminator's logits `(N,)` of images and of texts; positive means image."""
        assert self.discriminator is not None
        return self.discriminator(embeddings.image), self.discriminator(embeddings.text)

    def adversarial_loss(self, embeddings: Embeddings) -> Tensor:
        """What the generator minimises to mislead the discriminator, in the mode `adversary`."""
        if self.discriminator is None:
            return embeddings.image.new_zeros(())
        return adversarial_modality(*self.modality_logits(embeddings), mode=self.adversary)

    def related(self, batch: Batch) -> Tensor:
        """Which rows of a batch are relevant to each other, `(N, N)` bool: these are never negatives."""
        if self.spec.relevance == "label":
            return same_class(batch.label, batch.label)
        return same_image(batch.image_id, batch.image_id)

    # Embedding -------------------------------------------------------------------------------------------------------

    def embed(self, batch: Batch) -> Embeddings:
        """The pairs of a batch in the common space."""
        assert not isinstance(batch.text, ComposedQuery)
        return Embeddings(self.embed_images(batch.image), self.embed_texts(batch.text))

    def gather(self, batch: Batch, embeddings: Embeddings) -> tuple[Batch, Embeddings]:
        """The batch of all processes: embeddings, with gradients, and what relates them to each other.

        Images and texts themselves are not gathered: what reads them is done in `embed`.
        """
        if self.trainer.world_size == 1:
            return batch, embeddings
        label, image_id, *tensors = gather_batch((batch.label, batch.image_id, *embeddings.tensors()))
        return batch._replace(label=label, image_id=image_id), type(embeddings)(*tensors)

    def after_gathering(self) -> list[nn.Module]:
        """The discriminator; a method adds what it computes its terms with."""
        return [] if self.discriminator is None else [self.discriminator]

    def embed_images(self, images: Tensor) -> Tensor:
        """Images, as `Batch.image`, to `(N, D)`."""
        return self.image_encoder(images)

    def embed_texts(self, texts: Text) -> Tensor:
        """Texts, as `Batch.text`, to `(N, D)`."""
        return self.text_encoder(texts)

    def encoder_names(self) -> dict[str, str]:
        """Class names of the encoders."""
        return {"image": type(self.image_encoder).__name__, "text": type(self.text_encoder).__name__}

    # The game --------------------------------------------------------------------------------------------------------

    def players(self) -> dict[Player, list[nn.Parameter]]:
        """Trainable parameters by owner: the discriminator's, and all others."""
        theirs = [] if self.discriminator is None else list(self.discriminator.parameters())
        identities = {id(parameter) for parameter in theirs}
        ours = [p for p in self.parameters() if p.requires_grad and id(p) not in identities]
        return {"generator": ours, "discriminator": [p for p in theirs if p.requires_grad]}

    def setup(self, stage: str) -> None:
        """Compile, now that the weights are where they will stay; their names do not change."""
        super().setup(stage)
        if self.compile_with is not None:
            for encoder in (self.image_encoder, self.text_encoder):
                encoder.compile(backend=self.compile_with)

    def configure_optimizers(self) -> tuple[list[Optimizer], list[Any]]:
        """The generator's optimizer, then the discriminator's if there is one, and their schedules.

        A parameter group of the generator says as `lr_scale` which multiple of the configured rate it learns at.

        Raises:
            UserError: If the schedule sets learning rates whatever they were.
        """
        players = self.players()
        optimizers = [self.generator_optimizer(self._groups(players["generator"]))]
        for group in optimizers[0].param_groups:
            group["lr"] *= group.get("lr_scale", 1.0)
        if players["discriminator"]:
            optimizers.append(self.discriminator_optimizer(players["discriminator"]))
        schedules = [self.schedule(optimizer) for optimizer in optimizers] if self.schedule else []
        rates = [group["lr"] / group.get("lr_scale", 1.0) for group in optimizers[0].param_groups]
        if not all(math.isclose(rate, rates[0]) for rate in rates[1:]):
            raise UserError(
                "model.schedule gives all parameters one learning rate, which undoes backbone_lr_scale and "
                "backbone_layer_decay of the encoders; choose a schedule that multiplies rates, or leave them out."
            )
        return optimizers, schedules

    def _groups(self, parameters: list[nn.Parameter]) -> list[dict[str, Any]]:
        """Parameters by the multiple of the optimizer's learning rate that their encoders ask for in `lr_scales`."""
        scales: dict[nn.Parameter, float] = {}
        for encoder in (self.image_encoder, self.text_encoder):
            scales.update(encoder.lr_scales() if isinstance(encoder, BackboneEncoder) else {})
        groups: dict[float, list[nn.Parameter]] = {}
        for parameter in parameters:
            groups.setdefault(scales.get(parameter, 1.0), []).append(parameter)
        return [{"params": members, "lr_scale": scale} for scale, members in groups.items()]

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        """One move of each player."""
        batch, embeddings = self.gather(batch, self.embed(batch))
        fixed = embeddings.detach()
        self._check(fixed)
        self._window.append((batch, fixed))
        last = self.trainer.is_last_batch
        complete = len(self._window) == self.accumulate or last
        if complete and self.discriminator is not None and "discriminator" in self.active:
            self._update_discriminator()
        if "generator" in self.active:
            self._turn("generator")
            self._generator_backward(batch, embeddings, self._batches_of_update(batch_idx))
            if complete:
                self._step_generator()
        if complete:
            self._window.clear()
        if last:
            self._end_epoch()

    # Lightning asks anew for each batch which arguments the step takes; this answers without taking it apart.
    training_step.__signature__ = inspect.signature(training_step)  # type: ignore[attr-defined]

    @property
    def in_window(self) -> bool:
        """Whether gradients of some batches wait for the rest of their update."""
        return bool(self._window)

    def _batches_of_update(self, batch_idx: int) -> int:
        """How many batches the update in hand takes: the last of an epoch may have fewer than `accumulate`."""
        first = batch_idx + 1 - len(self._window)
        return int(min(self.accumulate, self.trainer.num_training_batches - first))

    def _update_discriminator(self) -> None:
        self._turn("discriminator")
        optimizer = self._optimizers()[1].optimizer
        for _ in range(self.discriminator_steps):
            for batch, embeddings in self._window:
                losses = self.discriminator_losses(batch, embeddings)
                self._note("discriminator", losses, "a smaller model.discriminator_optimizer.lr")
                self._backward(reduce(add, losses.values()), len(self._window))
            # Straight through the strategy: a step of the LightningOptimizer would be counted in `global_step`.
            self.trainer.strategy.optimizer_step(optimizer, lambda: None)
            _drop_gradients(optimizer)

    def _generator_backward(self, batch: Batch, embeddings: Embeddings, batches: int) -> None:
        with frozen(self.discriminator):
            losses = self.generator_losses(batch, embeddings)
        values = self._note("generator", losses, "a smaller weight in model.weights, or model.generator_optimizer.lr,")
        weights = {name: self._weight(name) for name in losses}
        weighted = {name: _times(weight, losses[name]) for name, weight in weights.items() if weight != 0}
        total = reduce(add, weighted.values()) if weighted else 0 * embeddings.image.sum()
        self._add("generator/total", sum(weights[name] * values[name] for name in weighted))
        self.stake = embeddings, weighted
        self._backward(total, batches)
        self.stake = None

    def _step_generator(self) -> None:
        optimizer = self._optimizers()[0]
        optimizer.step()
        _drop_gradients(optimizer)
        self.after_update()
        if self.schedule_every == "update":
            self._step_schedules()
        if self.global_step % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._log_sums()

    def _backward(self, loss: Tensor, batches: int) -> None:
        """The gradients of one of so many batches, of whose losses the mean is minimised."""
        if batches > 1:
            loss = loss / batches
        self.manual_backward(loss)

    def _turn(self, player: Player) -> None:
        self._player = player
        precision = self.trainer.precision_plugin
        if isinstance(precision, TwoPlayerPrecision):
            precision.turn(player)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Clip the gradient of the player whose turn it is; here fp16 gradients are un-scaled already."""
        limit = self.clip[self._player]
        if limit is not None:
            torch.nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], limit)

    def _optimizers(self) -> list[LightningOptimizer]:
        optimizers = self.optimizers()
        return optimizers if isinstance(optimizers, list) else [optimizers]

    # Weights, ramp, schedules ----------------------------------------------------------------------------------------

    def _weight(self, term: str) -> float:
        weight = self.weights[term]
        if self.ramp and weight != 0 and term in self.adversarial_terms:
            return weight * (2 / (1 + math.exp(-10 * self.progress)) - 1)
        return weight

    @property
    def progress(self) -> float:
        """Share of the generator updates of `ramp_span` that are done, 0 to 1.

        Raises:
            UserError: If the training has no end, so that there is no share to speak of.
        """
        first, last = self.ramp_span or (0, self._total_updates())
        return min(1.0, (self.global_step - first) / (last - first))

    @property
    def updates_per_epoch(self) -> int:
        """Generator updates of an epoch in which the generator moves."""
        return math.ceil(self.trainer.num_training_batches / self.accumulate)

    def _total_updates(self) -> int:
        epochs, steps = self.trainer.max_epochs, self.trainer.max_steps
        limits = [self.updates_per_epoch * epochs] if epochs is not None and epochs > 0 else []
        limits += [steps] if steps > 0 else []
        if not limits:
            raise UserError(
                "model.ramp needs to know how long the training is; set trainer.max_epochs or trainer.max_steps, or "
                "model.ramp to false."
            )
        return min(limits)

    def _end_epoch(self) -> None:
        """Step the schedules before the epoch's checkpoints are written: `on_train_epoch_end` would come after them.

        While the generator rests, no update of its says when to log, so the discriminator's losses are logged here.
        """
        if self.schedule_every == "epoch":
            self._step_schedules()
        if "generator" not in self.active:
            self._log_sums()

    def _step_schedules(self) -> None:
        for scheduler in self._schedulers():
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()

    def on_fit_start(self) -> None:
        """Refuse a plateau of falling scores where larger ones are better: it is torch's unless told otherwise.

        Raises:
            UserError: If the mode of the schedule is not that of the main protocol.
        """
        mode = "max" if self.protocols[0].higher_is_better else "min"
        if any(plateau.mode != mode for plateau in self._plateaus()):
            raise UserError(
                f"model.schedule takes a better {self.protocols[0].id} for a worse one, and would lower the learning "
                f"rates of a training that goes well; set model.schedule.init_args.mode to {mode}."
            )

    def on_validation_start(self) -> None:
        """Refuse to validate, and to save a checkpoint, in the middle of an update, of which the gradients get lost.

        Nobody misses those of a training that ends here.

        Raises:
            UserError: If gradients wait for the rest of their update.
        """
        training = self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking
        if training and self.in_window and not self.trainer.should_stop:
            raise self._validated_too_early()

    def _validated_too_early(self) -> UserError:
        return UserError(
            f"A validation may come in the middle of an update, which takes model.accumulate = {self.accumulate} "
            f"batches; set trainer.val_check_interval to a multiple of that, counted in batches, and "
            f"trainer.check_val_every_n_epoch to 1, so that the count starts anew in each epoch as updates do."
        )

    def on_validation_epoch_end(self) -> None:
        """Measure the validation part; a plateau of the schedules is one of the main protocol's mean."""
        super().on_validation_epoch_end()
        if self.trainer.state.fn == TrainerFn.FITTING and not self.trainer.sanity_checking:
            assert self.measurement is not None
            score = self.measurement.metrics[self.protocols[0].id]["mean"]
            for plateau in self._plateaus():
                plateau.step(score)

    def _plateaus(self) -> list[ReduceLROnPlateau]:
        return [scheduler for scheduler in self._schedulers() if isinstance(scheduler, ReduceLROnPlateau)]

    def _schedulers(self) -> list[Any]:
        schedulers = self.lr_schedulers()
        if schedulers is None:
            return []
        return schedulers if isinstance(schedulers, list) else [schedulers]

    # Logging and safety ----------------------------------------------------------------------------------------------

    def _check(self, embeddings: Embeddings) -> None:
        """Refuse embeddings that are not finite, which one sum tells of images and texts."""
        if math.isfinite((embeddings.image.sum() + embeddings.text.sum()).item()):
            return
        witnesses = {name: _witness(value) for name, value in embeddings._asdict().items()}
        self._refuse("embeddings of", witnesses, "a smaller model.generator_optimizer.lr or model.generator_clip")

    def _note(self, player: Player, losses: Mapping[str, Tensor], remedy: str) -> dict[str, float]:
        """The losses as numbers, refused if not finite, and added up to be logged."""
        values = {name: loss.item() for name, loss in losses.items()}
        self._refuse(f"{player}'s loss", values, remedy)
        for name, value in values.items():
            self._add(f"{player}/{name}", value)
        return values

    def _refuse(self, what: str, values: Mapping[str, float], remedy: str) -> None:
        """Stop the training if a value is not finite."""
        if all(map(math.isfinite, values.values())) or isinstance(self.trainer.precision_plugin, TwoPlayerPrecision):
            return  # what overflows fp16 costs an update, and is an error only where a smaller scale does not help
        astray = ", ".join(f"`{name}` ({value})" for name, value in values.items() if not math.isfinite(value))
        raise UserError(
            f"Training stopped after {self.global_step} updates, because the {what} {astray} went out of range; "
            f"{remedy} usually helps."
        )

    def _add(self, name: str, value: float) -> None:
        self._sums[name] += value
        self._summed[name] += 1

    @property
    def recent_loss(self) -> float | None:
        """What the generator minimises, as last logged, until then as a mean so far; None where it has not moved."""
        batches = self._summed["generator/total"]
        if self._logged_loss is None and batches:
            return self._sums["generator/total"] / batches
        return self._logged_loss

    def _log_sums(self) -> None:
        """Log means since the last time, straight to the loggers: `self.log` would cost a third of a small step."""
        means = {f"train/{name}": total / self._summed[name] for name, total in self._sums.items()}
        precision = self.trainer.precision_plugin
        if isinstance(precision, TwoPlayerPrecision):
            means |= {f"train/{player}/skipped": precision.skipped[player] for player in self.players()}
        for logger in self.loggers:
            logger.log_metrics({**means, "epoch": self.current_epoch}, step=self.global_step)
        self._logged_loss = means.get("train/generator/total")
        self._sums.clear()
        self._summed.clear()

    # Checkpoints -----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what a resumed run needs to draw and to log what the undisturbed one would have drawn and logged."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["random_states"] = gather_objects(random_state(self.device))
        checkpoint["sums"] = {name: (total, self._summed[name]) for name, total in self._sums.items()}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check the method, and remember the rest until training starts."""
        super().on_load_checkpoint(checkpoint)
        self._resumed = {key: checkpoint[key] for key in ("random_states", "sums") if key in checkpoint}

    def on_train_start(self) -> None:
        """Go on as the checkpoint says, now that the sanity check has drawn its random numbers.

        Raises:
            UserError: If validations would come in the middle of an update.
        """
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
                f"{len(states)} processes wrote the checkpoint and {world_size} go on, with other random numbers."
            )
        for name, (total, count) in self._resumed.get("sums", {}).items():
            self._sums[name], self._summed[name] = float(total), count
        self._resumed = {}


def _witness(values: Tensor) -> float:
    """One of the numbers that are not finite, or 0: finite numbers too may be too large for a sum."""
    astray = values[~values.isfinite()]
    return astray[0].item() if len(astray) else 0.0


def _drop_gradients(optimizer: Optimizer | LightningOptimizer) -> None:
    """Do what `zero_grad` does, but not the notes for a profiler, which cost small networks more than the rest."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _times(weight: float, loss: Tensor) -> Tensor:
    """The product, which needs no computing where the weight is 1, as most are."""
    return loss if weight == 1 else weight * loss


@contextmanager
def frozen(module: nn.Module | None) -> Iterator[None]:
    """Inside, no parameter of `module` requires a gradient; gradients still flow through it to its input."""
    parameters = [] if module is None else [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
