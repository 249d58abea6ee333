"""`fit`, `validate`, `test` and `predict`: LightningCLI, with a folder for each run."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators import MPSAccelerator
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table

from cmr_lightning import callbacks
from cmr_lightning.callbacks import RunLoggers, as_list
from cmr_lightning.callbacks.wandb_logging import finished_at_the_end
from cmr_lightning.command_line.trained_cli import TrainedCLI
from cmr_lightning.command_line.trainer_options import (
    check_callbacks,
    check_machines,
    check_options,
    refusals,
    settle_callbacks,
)
from cmr_lightning.config_errors import errors_for_people
from cmr_lightning.embedding_model import validation_scores
from cmr_lightning.errors import UserError, keep_traceback
from cmr_lightning.experiment import quieten
from cmr_lightning.files.config_files import config_files
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from cmr_lightning.runs.checkpoint_files import RunCheckpoints
from cmr_lightning.runs.conditions import put_aside
from cmr_lightning.runs.memory import peak_memory
from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.progress import PhaseReporter
from cmr_lightning.runs.run import Run, command_line
from cmr_lightning.runs.run_lock import RunLock
from cmr_lightning.runs.run_of_command import run_of_command


class RetrievalCLI(TrainedCLI):
    """Builds the parts of an experiment and runs one command in the run's folder, which it locks until its end."""

    run: Run

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            with errors_for_people(config_files(arguments)), RunLock() as self.lock:
                super().__init__(arguments)
        except Exception as error:
            run = vars(self).get("run")  # none where the config is not right
            if run is not None and run.started and not isinstance(error, UserError):
                keep_traceback(error, run.log)
            raise

    def before_instantiate_classes(self) -> None:
        """Find the run's folder, and refuse what cannot be done there before anything is built.

        Raises:
            UserError: If the folder already holds a run, or lacks the checkpoint that the command needs, another
                process works on it, nothing can be called so, or Lightning's trainer has an option that we have no use
                for.
        """
        check_options(self.options.trainer)
        if self.options.weights_only is False:
            raise UserError("--weights_only is false, but checkpoints are read without running anything of theirs.")
        trial = bool(self.options.trainer.fast_dev_run)  # neither needs a run nor leaves one
        self.run = run_of_command(self.command, self.config_files, self.options, trial)
        if trial:
            return
        if self.subcommand != "validate" and self.run.lock.exists():
            self.lock.take(self.run)
        self.compare_settings(self.run)

    # Building --------------------------------------------------------------------------------------------------------

    def instantiate_classes(self) -> None:
        """Build data, model and trainer, of which Lightning may refuse a logger or a callback."""
        with refusals():
            super().instantiate_classes()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build Lightning's trainer with the run's loggers, callbacks and checkpoints.

        Raises:
            UserError: If the settings under `trainer` do not fit together, or not this machine.
        """
        call = self.config_init[self.subcommand]  # Lightning passes its values on to the trainer's method
        options = dict(call["trainer"], **kwargs)
        trial = options["fast_dev_run"]
        training = self.subcommand == "fit" and not trial
        updates = self._updates_before() if training else None
        resume = self.subcommand == "test" or bool(self.options.get("resume"))
        configured = False if trial else options["logger"]
        self.loggers = RunLoggers(self.run, self.resolved(), configured, self.datamodule.protocols, resume, updates)
        options["logger"] = callbacks.NoLogger(self.run) if training else False
        if self.subcommand != "fit":
            call["ckpt_path"] = self.options.ckpt_path or (str(self.run.best) if self.run.best.exists() else None)
            call["verbose"] = call["return_predictions"] = False
        options["default_root_dir"] = str(self.run.path)
        options["enable_model_summary"] = bool(options["enable_model_summary"])
        if trial:
            options["enable_checkpointing"] = False
        if not self.model.needs_gradients and MPSAccelerator.is_available():
            options["accelerator"] = "cpu"  # closed forms are solved in float64, which Apple's GPUs do not have
        options["plugins"] = as_list(options["plugins"])
        if str(options["precision"]) in ("16", "16-mixed") and torch.cuda.is_available():
            options["precision"] = None
            options["plugins"].append(TwoPlayerPrecision())
        if not any(isinstance(plugin, CheckpointIO) for plugin in options["plugins"]):
            options["plugins"].append(RunCheckpoints(self.run))
        theirs = as_list(options["callbacks"])
        check_callbacks(theirs, self._scores(), self.model.needs_gradients)
        settle_callbacks(theirs, self.run)
        if training:
            self.loggers.check(theirs)
            begin = callbacks.FirstBatch(lambda: self._begin())  # a function is not copied when weights are averaged
            options["callbacks"] = [begin, *theirs]
        with refusals(ImportError, TypeError, ValueError, RuntimeError):
            trainer = self._instantiate_trainer(options, self._callbacks(theirs))
            check_machines(trainer)
        return trainer

    def _scores(self) -> dict[str, Literal["max", "min"]]:
        """Say of each validation score, the main one first, whether a larger or a smaller one is better."""
        scores = validation_scores(self.datamodule.protocols)
        main = f"val/{self.datamodule.protocols[0].id}/mean"
        return {main: scores[main], **scores}

    def _updates_before(self) -> int:
        """Find the checkpoint and the metrics file to go on from, if any; return the updates that were made."""
        self.metrics = MetricsFile(self.run)
        if not self.options.resume:
            return 0
        self.config_init["fit"]["ckpt_path"] = str(self.trained.path)
        self.metrics = MetricsFile(self.run, self.trained.metrics_rows)
        return self.trained.updates

    def _callbacks(self, theirs: Sequence[Callback]) -> list[Callback]:
        """Return our callbacks, to stand beside the user's."""
        options = self.options
        if self.subcommand == "fit":
            own_bar = options.trainer.enable_progress_bar is not False
            own_bar = own_bar and not any(isinstance(callback, ProgressBar) for callback in theirs)
            watching = [AdversarialDiagnostics(), PhaseReporter(), *([callbacks.RunProgress()] if own_bar else [])]
            if options.trainer.fast_dev_run:
                return watching
            monitor, mode = next(iter(self._scores().items()))
            self.time, self.best = callbacks.TrainingTime(), callbacks.BestCheckpoint(self.run, monitor, mode)
            self.last = callbacks.LastCheckpoint(self.run, self.resolved(), self.changes_before, self.changed)
            saving = [self.best, self.last, callbacks.End(self.best)]
            return [*saving, callbacks.Interruption(self.run), self.time, *watching]
        if options.trainer.fast_dev_run or self.subcommand == "validate":
            return []
        self.output = self.place_of_results(self.run)
        if self.subcommand == "predict":
            return [callbacks.EmbeddingsFile(self.output)]
        run = self.output
        record = callbacks.RecordWriter(
            self.run,
            run,
            experiment=options.experiment,
            seed=options.seed_everything,
            config=self.resolved(),
            weights=self.trained.fingerprint,
            changes=self.trained.changes,
            differences=self.differences | {key: str(before) for key, (before, _) in self.changed.items()},
        )
        to_loggers = [callbacks.LoggerReport(run, self.loggers)] if run == self.run else []
        return [callbacks.ExamplesWriter(run), record, callbacks.RetrievalGallery(run), *to_loggers]

    # Running ---------------------------------------------------------------------------------------------------------

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command, of which Lightning may still refuse a setting."""
        with refusals():
            super()._run_subcommand(subcommand)

    def fit(self, model: LightningModule, **kwargs: Any) -> None:
        """Train, and keep in the run's folder how it began, what was logged and how it ended."""
        if self.trainer.fast_dev_run or not self.trainer.is_global_zero:  # type: ignore[attr-defined]
            self.trainer.fit(model, **kwargs)
            self._say_if_tried()
            return
        with _messages() as self.messages:
            self.trainer.fit(model, **kwargs)
        self._finish()

    def _begin(self) -> None:
        """Prepare the folder, now that the training can begin, write the config and print what will happen."""
        self.loggers.connect()  # which may be refused, too
        self.lock.take(self.run)
        self.run.check(self.options.resume, self.options.overwrite)  # another command may have begun before the lock
        self.run.prepare(self.options.overwrite)
        put_aside(self.run)
        self.messages.setTarget(_log_file(self.run.log))
        self.trainer.loggers = [self.metrics, *self.loggers.loggers]
        self.loggers.begin()
        header = f"# {command_line('test', '--config', self.run.config)}\n"
        write_whole(self.run.config, header + yaml.safe_dump(self.resolved(), sort_keys=False))
        parameters = sum(p.numel() for p in self.model.parameters())
        print(
            f"{type(self.model).__name__} on {type(self.datamodule).__name__} ({self.datamodule.split.name}), seed "
            f"{self.options.seed_everything}, {parameters:,} parameters -> {self.run.path}"
        )

    def _finish(self) -> None:
        """Write how the run ended, and print what to do next."""
        best = self.best.selection()
        lasted = {"wall_time_s": round(self.time.seconds, 3), "peak_memory": peak_memory()}
        made = {"updates": self.trainer.global_step, "epochs": self.trainer.current_epoch}
        self.run.write_summary({"selection": best, **lasted, **made, "changes": self.last.changes})
        trained_on = {key: value for key, value in (self.model.trained_on or {}).items() if key != "pictures"}
        content = json.dumps(trained_on, indent=1, default=lambda tensor: tensor.tolist())
        write_whole(self.run.trained_on, content + "\n")
        self.loggers.end(best)
        print(f"Best {best['monitor']} {best['value']:.4f} after epoch {best['epoch'] + 1}, {best['step']} updates.")
        print(f"Next: {command_line('test', '--config', self.run.config)}")

    def before_test(self) -> None:
        """Lock the folder, if it is a new one or has never been locked; a trial run writes nothing."""
        if not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.lock.take(self.run)

    before_predict = before_test

    @rank_zero_only
    def after_validate(self) -> None:
        """Print the metrics of the validation part."""
        if not self._say_if_tried():
            self._print_metrics("validation")

    @rank_zero_only
    def after_test(self) -> None:
        """Print the metrics of the test part, and where to find more."""
        if self._say_if_tried():
            return
        self._print_metrics("test")
        run = self.output
        print(f"Wrote {run.record}, {run.ranks.name}, {run.examples.name} and {run.gallery.name}.")

    @rank_zero_only
    def after_predict(self) -> None:
        """Say so if this was a trial run."""
        self._say_if_tried()

    def _say_if_tried(self) -> bool:
        """Print, where this was a trial run, that it was no more than that; tell whether it was."""
        tried = int(self.trainer.fast_dev_run)  # type: ignore[attr-defined]
        if tried and self.trainer.is_global_zero:
            print(f"Tried {self.subcommand} with {tried} batch(es) of each part; nothing was measured or kept.")
        return bool(tried)

    def _print_metrics(self, part: str) -> None:
        table = Table(title=f"{type(self.model).__name__} on {type(self.datamodule).__name__}, {part} part")
        table.add_column("protocol")
        columns = self.datamodule.protocols[0].columns
        for column in columns:
            table.add_column(column, justify="right")
        for protocol, values in self.model.measurement.metrics.items():
            table.add_row(protocol, *(f"{values[column]:.4g}" for column in columns))
        Console().print(table)


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
    with finished_at_the_end():
        RetrievalCLI(arguments)
