"""`fit`, `validate`, `test` and `predict`: LightningCLI, with a folder for each run."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
from cmr_lightning.errors import UserError, keep_traceback
from cmr_lightning.experiment import ExperimentCLI, quieten
from cmr_lightning.files.config_files import config_files
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from cmr_lightning.runs.checkpoint_files import RunCheckpoints, newest_checkpoint
from cmr_lightning.runs.memory import peak_memory
from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.progress import PhaseReporter
from cmr_lightning.runs.run import Run, run_of_command


class RetrievalCLI(ExperimentCLI):
    """Builds the parts of an experiment and runs one command in the run's folder."""

    run: Run

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            with errors_for_people(config_files(arguments)):
                super().__init__(arguments)
        except Exception as error:
            run = vars(self).get("run")  # none where the config is not right
            if run is not None and run.started and not isinstance(error, UserError):
                keep_traceback(error, run.log)
            raise

    def before_instantiate_classes(self) -> None:
        """Find the run's folder, and refuse what cannot be done there before anything is built.

        Raises:
            UserError: If the folder already holds a run, or lacks the checkpoint that the command needs.
        """
        self.run = run_of_command(self.command, self.config_files, self.options)

    # Building --------------------------------------------------------------------------------------------------------

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build Lightning's trainer with the run's loggers, callbacks and checkpoints.

        Raises:
            UserError: If the settings under `trainer` do not fit together, or not this machine.
        """
        call = self.config_init[self.subcommand]  # Lightning passes its values on to the trainer's method
        options = dict(call["trainer"], **kwargs)
        self.loggers = self._loggers(options["logger"])
        options["logger"] = False
        if self.subcommand == "fit":
            options["logger"] = [self._metrics_file(), *self.loggers]
        else:
            call["ckpt_path"] = self.options.ckpt_path or str(self.run.best)
            call["verbose"] = call["return_predictions"] = False
        options["default_root_dir"] = str(self.run.path)
        options["enable_model_summary"] = False
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
        except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
            raise UserError(f"The settings under `trainer` do not fit together or to this machine: {error}") from error

    def _metrics_file(self) -> MetricsFile:
        if not self.options.resume:
            return MetricsFile(self.run)
        newest, checkpoint = newest_checkpoint(self.run)
        self.config_init["fit"]["ckpt_path"] = str(newest)
        return MetricsFile(self.run, checkpoint["metrics_rows"])

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
            to_wandb = [WandbReport(logger) for logger in self.loggers if isinstance(logger, RunLogger)]
            return [record, callbacks.RetrievalGallery(self.run), callbacks.ExamplesWriter(self.run), *to_wandb]
        return [callbacks.EmbeddingsFile(self.run)] if self.subcommand == "predict" else []

    # Running ---------------------------------------------------------------------------------------------------------

    def fit(self, model: LightningModule, **kwargs: Any) -> None:
        """Train, and keep in the run's folder how it began, what was logged and how it ended."""
        if not self.trainer.is_global_zero:
            self.trainer.fit(model, **kwargs)
            return
        self._begin()
        with _log_file(self.run.log):
            self.trainer.fit(model, **kwargs)
        self._finish()

    def _begin(self) -> None:
        """Prepare the folder, now that everything could be built, write the config and print what will happen."""
        self.run.prepare(self.options.overwrite)
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                logger.begin()
        header = f"# python -m cmr_lightning test --config {self.run.config}\n"
        write_whole(self.run.config, header + yaml.safe_dump(self.resolved(), sort_keys=False))
        parameters = sum(p.numel() for p in self.model.parameters())
        print(
            f"{type(self.model).__name__} on {type(self.datamodule).__name__} ({self.datamodule.split.name}), seed "
            f"{self.options.seed_everything}, {parameters:,} parameters -> {self.run.path}"
        )

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


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Write warnings and Lightning's messages to a file, too."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "py.warnings")]
    logging.captureWarnings(True)
    for logger in loggers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger in loggers:
            logger.removeHandler(handler)
        handler.close()


def main(arguments: Sequence[str]) -> None:
    """Run one command of Lightning.

    Raises:
        UserError: If the config, its files or the run's folder need to be fixed first.
    """
    quieten()
    with finished_at_the_end():
        RetrievalCLI(arguments)
