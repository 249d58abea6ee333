"""Lightning's options that would do nothing here, or not what they say: refused by the names of ours."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)
from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import SingleDeviceStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from cmr_lightning.errors import UserError
from cmr_lightning.parallel.strategy import TwoPlayerDDP
from cmr_lightning.runs.run import Run

_CLIP = "each player's gradient is clipped by its norm; set model.generator_clip and model.discriminator_clip"
_WHOLE = (
    "checkpoints are chosen and runs compared by all items of a part; leave it out (trainer.fast_dev_run tries a run "
    "with a batch of each part)"
)

_ACCEPTED: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "gradient_clip_val": ((None, 0, 0.0), _CLIP),
    "gradient_clip_algorithm": ((None,), _CLIP),
    "accumulate_grad_batches": ((1,), "two players count their batches together; set model.accumulate"),
    "limit_val_batches": ((None, 1.0), _WHOLE),
    "limit_test_batches": ((None, 1.0), _WHOLE),
    "limit_predict_batches": ((None, 1.0), _WHOLE),
    "overfit_batches": ((0, 0.0), f"{_WHOLE}, and trainer.limit_train_batches shortens the epochs of the training"),
    "enable_checkpointing": ((None, True), "a run is tested by its checkpoints; leave it out"),
    "barebones": ((False,), "a run consists of its checkpoints and metrics; leave it out"),
    "default_root_dir": ((None,), "everything of a run is in its folder; set run_dir"),
    "model_registry": ((None,), "checkpoints are kept in the run's folder; leave it out"),
    "use_distributed_sampler": ((True,), "our loaders share the items out among the processes; leave it out"),
    "reload_dataloaders_every_n_epochs": (
        (0,),
        "a new loader would begin with the order of the first epoch again, which otherwise changes from epoch to "
        "epoch; leave it out",
    ),
}
"""Option -> the values that are taken, and what to do instead of giving another."""

_LEAST: Mapping[str, int] = {
    "log_every_n_steps": 0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": -1,
    "min_epochs": 0,
    "min_steps": 0,
}
"""Option -> its least value."""

_UNUSABLE: Mapping[type[Callback], str] = {
    StochasticWeightAveraging: (
        "averages after the last validation, so that no checkpoint would hold the average; take WeightAveraging or "
        "EMAWeightAveraging"
    ),
    GradientAccumulationScheduler: "cannot count the batches of two players; set model.accumulate",
    LearningRateFinder: "knows one optimizer and its loss; find model.generator_optimizer.lr by a sweep",
    BackboneFinetuning: "knows modules of one name only; take TrainingStages, whose stages say what is frozen",
    BatchSizeFinder: "would train with another data.batch_size than the config says; set that",
}
"""Callbacks that do not do what they should, and why."""


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse values of Lightning's trainer that a run has no use for.

    Args:
        options: The part `trainer` of a config.

    Raises:
        UserError: If there is one; it names the key of ours that does the same, if there is one.
    """
    for key, (accepted, remedy) in _ACCEPTED.items():
        value = options[key]
        if not any(type(value) is type(taken) and value == taken for taken in accepted):
            raise UserError(f"trainer.{key} is {value}, but {remedy}.")
    for key, least in _LEAST.items():
        if options[key] is not None and options[key] < least:
            raise UserError(f"trainer.{key} is {options[key]}, which is below the least value, {least}.")
    if options["val_check_interval"] == 0:
        raise UserError("trainer.val_check_interval is 0; give a number of batches, or a share of the epoch.")
    for unit in ("epochs", "steps"):
        least, most = options[f"min_{unit}"], options[f"max_{unit}"]
        if least is not None and most is not None and 0 <= most < least:
            raise UserError(f"trainer.min_{unit} is {least}, more than trainer.max_{unit}, {most}.")


def check_callbacks(callbacks: Iterable[Callback], scores: Mapping[str, str], trained: bool) -> None:
    """Refuse the user's callbacks that would not do what they should.

    Args:
        callbacks: The callbacks.
        scores: `max` or `min` for each validation score, the main one first.
        trained: The model is trained by updates.

    Raises:
        UserError: If there is one; it names the key of ours that does the same, if there is one.

    Examples:
        >>> scores = {"val/map@all/cos/label/mean": "max"}
        >>> check_callbacks([EarlyStopping("score")], scores, trained=True)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cmr_lightning.errors.UserError: trainer.callbacks: EarlyStopping takes a better score for a worse one; ...
    """
    for callback in callbacks:
        name = f"trainer.callbacks: {type(callback).__name__}"
        for kind, reason in _UNUSABLE.items():
            if isinstance(callback, kind):
                raise UserError(f"{name} {reason}.")
        if isinstance(callback, WeightAveraging) and not trained:
            raise UserError(f"{name} averages over updates, of which the method makes none; leave it out.")
        if isinstance(callback, EarlyStopping | ModelCheckpoint) and callback.monitor is not None:
            _check_monitor(name, callback, scores)


def _check_monitor(name: str, callback: EarlyStopping | ModelCheckpoint, scores: Mapping[str, str]) -> None:
    if isinstance(callback, ModelCheckpoint) and callback.monitor in ("epoch", "step"):
        return
    best = {"score": next(iter(scores.values())), **scores}.get(callback.monitor or "")
    if best is None:
        main = next(iter(scores))
        raise UserError(f"{name} watches {callback.monitor}, which is no score of a validation; take {main}, or score.")
    if best != callback.mode:
        raise UserError(f"{name} takes a better {callback.monitor} for a worse one; set its mode to {best}.")


def settle_callbacks(callbacks: Iterable[Callback], run: Run) -> None:
    """Let the user's checkpoints be written beside those of the run, and scores be watched when they are measured.

    Raises:
        UserError: If checkpoints would be written among those of the run.
    """
    for callback in callbacks:
        if isinstance(callback, EarlyStopping):  # at the end of an epoch, it would fail where there was no validation
            callback._check_on_train_epoch_end = False
        if isinstance(callback, ModelCheckpoint):
            callback.dirpath = callback.dirpath or str(run.more_checkpoints.absolute())
            if Path(callback.dirpath).resolve() == run.best.parent.resolve():
                raise UserError(
                    f"trainer.callbacks: {type(callback).__name__} writes to {callback.dirpath}, among the checkpoints "
                    f"by which the run is tested and resumed; set its dirpath to another folder, or leave it out."
                )


def check_machines(trainer: pl.Trainer) -> None:
    """Refuse a strategy or machines on which two players cannot train.

    Raises:
        UserError: If the strategy is another, or nothing says which of several machines this is.
        ValueError: If the cluster has started other processes than the options say.
    """
    strategy = trainer.strategy
    if isinstance(strategy, SingleDeviceStrategy):
        return
    if not isinstance(strategy, TwoPlayerDDP):
        raise UserError(
            f"trainer.strategy makes a {type(strategy).__name__}, under which the players would not see the batch of "
            f"all processes; set it to ddp, or to auto."
        )
    environment = strategy.cluster_environment
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if trainer.num_nodes > 1 and missing and isinstance(environment, LightningEnvironment):
        raise UserError(
            f"trainer.num_nodes is {trainer.num_nodes}, but nothing says which of the machines this is; start the "
            f"command on each by SLURM or torchrun, or set {', '.join(missing)} there."
        )
    if environment is not None:
        environment.validate_settings(num_devices=trainer.num_devices, num_nodes=trainer.num_nodes)


@contextmanager
def refusals(*others: type[Exception]) -> Iterator[None]:
    """Turn what Lightning says of wrong settings inside the context into a `UserError` of one line.

    jsonargparse wraps it in a `ValueError` of its own.

    Args:
        *others: Errors to be understood so, too, where nothing but the trainer can raise them.
    """
    errors = (MisconfigurationException, ModuleNotFoundError, *others)
    try:
        yield
    except Exception as error:
        cause: BaseException | None = error
        while isinstance(cause, ValueError) and not isinstance(cause, errors):
            cause = cause.__cause__
        if not isinstance(cause, errors):
            raise
        said = " ".join(str(cause).split()).rstrip(".")
        raise UserError(f"The settings under `trainer` do not fit together, or not this machine: {said}.") from error
