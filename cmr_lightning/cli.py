"""`fit`, `validate`, `test` and `predict`: LightningCLI, with a folder for each run."""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any

import torch
import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators import MPSAccelerator
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table

from cmr_lightning import callbacks
from cmr_lightning.callbacks.wandb_logging import RunLogger, WandbReport, finished_at_the_end
from cmr_lightning.config_errors import errors_for_people
from cmr_lightning.embedding_model import validation_scores
from cmr_lightning.errors import UserError
from cmr_lightning.experiment import ExperimentCLI, quieten
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from cmr_lightning.runs.checkpoint_files import RunCheckpoints, newest_checkpoint
from cmr_lightning.runs.memory import peak_memory
from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.progress import PhaseReporter
from cmr_lightning.runs.run import Run, experiment_name, run_of_config


class RetrievalCLI(ExperimentCLI):
    """Builds the parts of an experiment and runs one command in the run's folder."""

    metrics_rows = 0
    """Rows of the metrics file that a resumed run keeps."""

    def before_instantiate_classes(self) -> None:
        """Find the run's folder, and refuse what cannot be done there before anything is built.

        Raises:
            UserError: If the folder already holds a run, or lacks the checkpoint that the command needs.
        """
        options = self.options
        options.experiment = options.experiment or experiment_name(self.config_files)
        given = Run(Path(options.run_dir or f"runs/{options.experiment}/seed{options.seed_everything}"))
        self.run = given if self.subcommand == "fit" else run_of_config(self.config_files) or given
        options.run_dir = str(self.run.path)
        if options.ckpt_path is not None and not Path(options.ckpt_path).is_file():
            raise UserError(f"{options.ckpt_path}, given as --ckpt_path, does not exist.")
        if self.subcommand == "fit":
            if int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0:
                options.resume = bool(self.run.checkpoints())
                options.overwrite = not options.resume
            rank_zero_only(self.run.check)(options.resume, options.overwrite)  # other processes find the folder in use
        elif options.ckpt_path is None and not self.run.best.exists():
            remedy = "train the experiment with `fit` first, or give --ckpt_path"
            raise UserError(f"{self.run.best} does not exist; {remedy}.")

    # Building --------------------------------------------------------------------------------------------------------

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build Lightning's trainer with the run's loggers, callbacks and checkpoints.

        Raises:
            UserError: If the settings under `trainer` do not fit together, or not this machine.
        """
        call = self.config_init[self.subcommand]  # Lightning passes its values on to the trainer's method
        options = dict(call["trainer"], **kwargs)
        self.loggers = self._loggers(options["logger"])
        options["logger"] = self.loggers if self.subcommand == "fit" else False
        if self.subcommand != "fit":
            call["ckpt_path"] = self.options.ckpt_path or str(self.run.best)
            call["verbose"] = call["return_predictions"] = False
        elif self.options.resume:
            newest, checkpoint = newest_checkpoint(self.run)
            call["ckpt_path"], self.metrics_rows = str(newest), checkpoint["metrics_rows"]
        options["default_root_dir"] = str(self.run.path)
        options["enable_model_summary"] = False
        options["callbacks"] = _as_list(options["callbacks"])
        if self.subcommand == "fit":
            options["callbacks"].insert(0, callbacks.FirstBatch(self._begin))
        if not self.model.needs_gradients and MPSAccelerator.is_available():
            options["accelerator"] = "cpu"  # closed forms are solved in float64, which Apple's GPUs do not have
        options["plugins"] = _as_list(options["plugins"])
        if str(options["precision"]) in ("16", "16-mixed") and torch.cuda.is_available():
            options["precision"] = None
            options["plugins"].append(TwoPlayerPrecision())
        if not any(isinstance(plugin, CheckpointIO) for plugin in options["plugins"]):
            options["plugins"].append(RunCheckpoints(self.run))
        try:
            return self._instantiate_trainer(options, self._callbacks())
        except (MisconfigurationException, ModuleNotFoundError, TypeError, ValueError) as error:
            raise UserError(f"The settings under `trainer` do not fit together or to this machine: {error}") from error

    def _loggers(self, configured: Any) -> list[Logger]:
        """Return the configured loggers, with a `RunLogger` in place of W&B's."""
        loggers = [] if isinstance(configured, bool) else _as_list(configured)
        config, scores = self.resolved(), validation_scores(self.datamodule.protocols)
        resume = self.subcommand == "test" or bool(self.options.get("resume"))
        return [
            RunLogger(self.run, config, settings, scores, resume) if isinstance(logger, WandbLogger) else logger
            for logger, settings in zip(loggers, _as_list(config["trainer"]["logger"]), strict=False)
        ]

    def _callbacks(self) -> list[Callback]:
        if self.subcommand == "fit":
            monitor = f"val/{self.datamodule.protocols[0].id}/mean"
            mode = validation_scores(self.datamodule.protocols)[monitor]
            self.timer, self.best = Timer(), callbacks.BestCheckpoint(self.run, monitor, mode)
            progress = [] if self.options.trainer.enable_progress_bar is False else [callbacks.RunProgress()]
            saving = [self.best, callbacks.LastCheckpoint(self.run), callbacks.Interruption(self.run)]
            return [*saving, AdversarialDiagnostics(), self.timer, PhaseReporter(), *progress]
        if self.subcommand == "test":
            options = self.options
            record = callbacks.RecordWriter(self.run, options.experiment, options.seed_everything, self.resolved())
            to_wandb = [WandbReport(logger) for logger in self._wandb_runs()]
            return [record, callbacks.RetrievalGallery(self.run), callbacks.ExamplesWriter(self.run), *to_wandb]
        return [callbacks.EmbeddingsFile(self.run)] if self.subcommand == "predict" else []

    # Running ---------------------------------------------------------------------------------------------------------

    def fit(self, model: LightningModule, **kwargs: Any) -> None:
        """Train, and keep in the run's folder how it began, what was logged and how it ended."""
        if not self.trainer.is_global_zero:
            self.trainer.fit(model, **kwargs)
            return
        for logger in self._wandb_runs():
            logger.begin()
        self._announce()
        with _messages() as self.messages:
            self.trainer.fit(model, **kwargs)
        self._finish()

    def _wandb_runs(self) -> list[RunLogger]:
        return [logger for logger in self.loggers if isinstance(logger, RunLogger)]

    def _announce(self) -> None:
        """Print what will happen."""
        parameters = sum(p.numel() for p in self.model.parameters())
        print(
            f"{type(self.model).__name__} on {type(self.datamodule).__name__} ({self.datamodule.split.name}), seed "
            f"{self.options.seed_everything}, {parameters:,} parameters -> {self.run.path}"
        )

    def _begin(self) -> None:
        """Prepare the folder, now that the first batch is at hand and nothing was refused, and write the config."""
        self.run.prepare(self.options.overwrite)
        for logger in self._wandb_runs():
            logger.keep_id()
        self.trainer.loggers = [MetricsFile(self.run, self.metrics_rows), *self.loggers]
        header = f"# python -m cmr_lightning test --config {self.run.config}\n"
        write_whole(self.run.config, header + yaml.safe_dump(self.resolved(), sort_keys=False))
        self.messages.setTarget(_log_file(self.run.log))

    def _finish(self) -> None:
        """Write how the run ended, and print what to do next."""
        best = self.best.selection()
        lasted = {"wall_time_s": round(self.timer.time_elapsed("train"), 3), "peak_memory": peak_memory()}
        made = {"updates": self.trainer.global_step, "epochs": self.trainer.current_epoch}
        self.run.write_summary({"selection": best, **lasted, **made})
        print(f"Best {best['monitor']} {best['value']:.4f} after epoch {best['epoch'] + 1}, {best['step']} updates.")
        print(f"Next: python -m cmr_lightning test --config {self.run.config}")

    @rank_zero_only
    def after_validate(self) -> None:
        """Print the metrics of the validation part."""
        self._print_metrics("validation")

    @rank_zero_only
    def after_test(self) -> None:
        """Print the metrics of the test part, and where to find more."""
        self._print_metrics("test")
        run = self.run
        print(f"Wrote {run.record}, {run.ranks.name}, {run.examples.name} and {run.gallery.name}.")

    def _print_metrics(self, part: str) -> None:
        table = Table(title=f"{type(self.model).__name__} on {type(self.datamodule).__name__}, {part} part")
        table.add_column("protocol")
        columns = self.datamodule.protocols[0].columns
        for column in columns:
            table.add_column(column, justify="right")
        for protocol, values in self.model.measurement.metrics.items():
            table.add_row(protocol, *(f"{values[column]:.4g}" for column in columns))
        Console().print(table)


def _as_list(value: Any) -> list[Any]:
    """Return the value of a key that takes nothing, one object or several as a list."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _log_file(path: Path) -> logging.FileHandler:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    return handler


@contextmanager
def _messages() -> Iterator[MemoryHandler]:
    """Keep warnings and Lightning's messages until they have a file as their target, then write them there, too."""
    handler = MemoryHandler(capacity=1)  # without a target it keeps any number
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "py.warnings")]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield handler
    finally:
        logging.captureWarnings(False)
        for logger in loggers:
            logger.removeHandler(handler)
        file = handler.target
        handler.close()
        if file is not None:
            file.close()


def main(arguments: Sequence[str]) -> None:
    """Run one command of Lightning.

    Raises:
        UserError: If the config, its files or the run's folder need to be fixed first.
    """
    quieten()
    with errors_for_people(), finished_at_the_end():
        RetrievalCLI(arguments)
