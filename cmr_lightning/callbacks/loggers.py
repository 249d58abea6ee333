"""The loggers of a config: made for the run, and told what it is, how it trained and what `test` measured."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from cmr_lightning.callbacks.tensorboard_logging import RunBoard, tested
from cmr_lightning.callbacks.wandb_logging import RunLogger, WandbWatch
from cmr_lightning.embedding_model import validation_scores
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol, Record
from cmr_lightning.runs.run import Run
from cmr_lightning.runs.settings import dotted


class RunLoggers:
    """The loggers that a config has beside the metrics file, with ours in place of those of W&B and TensorBoard.

    Args:
        run: The run.
        config: Its resolved config.
        configured: What it says under `trainer.logger`, built; `True` stands for TensorBoard, in the run's folder.
        protocols: Protocols of the data, the main one first.
        resume: Continue the W&B run that the run's folder names.
        updates: Updates that were made before, see `RunBoard`.
    """

    def __init__(
        self,
        run: Run,
        config: Mapping[str, Any],
        configured: Any,
        protocols: Sequence[Protocol],
        resume: bool,
        updates: int | None,
    ) -> None:
        self.config = config
        self.loggers: list[Logger] = []
        settings = config["trainer"]["logger"]
        if isinstance(configured, bool):
            inside = {"save_dir": str(run.tensorboard), "name": "", "version": ""}
            configured = TensorBoardLogger(run.tensorboard) if configured else None
            settings = {"init_args": inside}
        for logger, parts in zip(as_list(configured), as_list(settings), strict=False):
            given = {**parts.get("init_args", {}), **parts.get("dict_kwargs", {})}
            if isinstance(logger, WandbLogger):
                logger = RunLogger(run, dict(config), given, validation_scores(protocols), resume)
            elif isinstance(logger, TensorBoardLogger):
                logger = RunBoard(run, config, given, protocols, updates)
            self.loggers.append(logger)

    def check(self, callbacks: Sequence[pl.Callback]) -> None:
        """Raise UserError if one of the callbacks logs to W&B and no logger does."""
        watching = any(isinstance(callback, WandbWatch) for callback in callbacks)
        if watching and not any(isinstance(logger, RunLogger) for logger in self.loggers):
            raise UserError("WandbWatch logs to W&B; set --trainer.logger=WandbLogger, or leave it out.")

    def connect(self) -> None:
        """Reach what may be out of reach; raise UserError if W&B is."""
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                logger.connect()

    @rank_zero_only
    def begin(self) -> None:
        """Say what the run is, with its settings unless `trainer.enable_autolog_hparams` is false."""
        for logger in self.loggers:
            if isinstance(logger, RunLogger | RunBoard):
                logger.begin()
            elif self.config["trainer"]["enable_autolog_hparams"]:
                logger.log_hyperparams(dotted(self.config))

    @rank_zero_only
    def end(self, selection: Mapping[str, Any]) -> None:
        """Say by which score the checkpoint was chosen."""
        for logger in self.loggers:
            if isinstance(logger, RunBoard):
                logger.end(selection)

    @rank_zero_only
    def report(self, run: Run) -> None:
        """Log what `test` measured; W&B and TensorBoard get curves and pictures as well."""
        for logger in self.loggers:
            if isinstance(logger, RunLogger | RunBoard):
                logger.report()
            else:
                record = Record.read(run.record)
                logger.log_metrics(tested(record), step=record.selection.get("step"))
                logger.save()
                logger.finalize("success")


class NoLogger(DummyLogger):
    """Stands for all loggers until the training begins: Lightning would have them make their files before that."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    @property
    def save_dir(self) -> str:
        """The run's folder, where profilers write."""
        return str(self._run.path)


class LoggerReport(pl.Callback):
    """Reports to the loggers after `test`."""

    def __init__(self, run: Run, loggers: RunLoggers) -> None:
        self.run = run
        self.loggers = loggers

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what the run is, also to find out at once if nothing can be logged."""
        self.loggers.begin()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Report; the record has been written by then."""
        self.loggers.report(self.run)


def as_list(value: Any) -> list[Any]:
    """Return the value of a key that takes nothing, one object or several as a list."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]
