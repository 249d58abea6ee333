"""`fit`, `validate`, `test` and `predict`: LightningCLI, where a run lives in a folder of its own."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

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

from cmr_lightning.callbacks import (
    BestCheckpoint,
    EmbeddingsFile,
    ExamplesWriter,
    Interruption,
    LastCheckpoint,
    RecordWriter,
    RetrievalGallery,
    RunProgress,
)
from cmr_lightning.callbacks.wandb_logging import RunLogger, WandbReport, finished_at_the_end
from cmr_lightning.config_errors import errors_for_people
from cmr_lightning.embedding_model import validation_scores
from cmr_lightning.errors import UserError
from cmr_lightning.experiment import ExperimentCLI, quieten
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.game import AdversarialDiagnostics
from cmr_lightning.parallel.two_player_precision import TwoPlayerPrecision
from cmr_lightning.runs.checkpoint_files import RunCheckpoints, newest_checkpoint, read_checkpoint
from cmr_lightning.runs.memory import peak_memory
from cmr_lightning.runs.metrics_file import MetricsFile
from cmr_lightning.runs.run import Run, experiment_name, run_of_config

_LOGGED = ("pytorch_lightning", "py.warnings")


class RetrievalCLI(ExperimentCLI):
    """Builds the parts of an experiment and runs one command in the run's folder."""

    def before_instantiate_classes(self) -> None:
        """Find the run's folder, and refuse what should not be done there before anything that takes long."""
        if self.options.experiment is None:
            self.options.experiment = experiment_name(self.config_files)
        default = Path("runs") / self.options.experiment / f"seed{self.options.seed_everything}"
        given = Run(Path(self.options.run_dir or default))
        self.run = given if self.subcommand == "fit" else run_of_config(self.config_files) or given
        self.options.run_dir = str(self.run.path)
        if self.options.ckpt_path is not None and not Path(self.options.ckpt_path).is_file():
            raise UserError(f"{self.options.ckpt_path}, given as --ckpt_path, does not exist.")
        if self.subcommand != "fit" and self.options.ckpt_path is None and not self.run.best.exists():
            raise UserError(
                f"{self.run.best} does not exist; train the experiment with `fit` first, or give --ckpt_path."
            )
        if self.subcommand == "fit":
            if int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0:
                self.options.resume = bool(self.run.checkpoints())
                self.options.overwrite = not self.options.resume
            if _is_first_process():  # which the others of a group follow
                self.run.check(self.options.resume, self.options.overwrite)

    # Building --------------------------------------------------------------------------------------------------------

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Lightning's trainer with the run's loggers and callbacks."""
        options = self.config_init[self.subcommand]["trainer"]
        options["default_root_dir"] = str(self.run.path)
        self.loggers = self._loggers(options["logger"])
        options["logger"] = [self._metrics_file(), *self.loggers] if self.subcommand == "fit" else False
        options["enable_model_summary"] = False
        if not self.model.needs_gradients and MPSAccelerator.is_available():
            options["accelerator"] = "cpu"  # closed forms are solved in float64, which Apple's GPUs do not have
        options["plugins"] = [*_as_list(options["plugins"])]
        if str(options["precision"]) in ("16", "16-mixed") and torch.cuda.is_available():
            options["precision"] = None
            options["plugins"].append(TwoPlayerPrecision())
        if not any(isinstance(plugin, CheckpointIO) for plugin in options["plugins"]):
            options["plugins"].append(RunCheckpoints(self.run))
        try:
            return self._instantiate_trainer(dict(options, **kwargs), self._callbacks())
        except (MisconfigurationException, ModuleNotFoundError, ValueError) as error:
            raise UserError(f"The settings under `trainer` do not fit together or to this machine: {error}") from error

    def _metrics_file(self) -> MetricsFile:
        keep_rows = 0
        if self.options.resume:
            newest, checkpoint = newest_checkpoint(self.run)
            self.config_init["fit"]["ckpt_path"] = str(newest)
            keep_rows = checkpoint["metrics_rows"]
        return MetricsFile(self.run, keep_rows)

    def _loggers(self, configured: Any) -> list[Logger]:
        """The configured loggers, W&B's made to fit the run."""
        loggers = _as_list(None if isinstance(configured, bool) else configured)
        config, scores = self.resolved(), validation_scores(self.datamodule.protocols)
        go_on = self.subcommand == "test" or bool(self.options.get("resume"))
        return [
            RunLogger(self.run, config, settings, scores, go_on) if isinstance(logger, WandbLogger) else logger
            for logger, settings in zip(loggers, _as_list(config["trainer"]["logger"]), strict=False)
        ]

    def _callbacks(self) -> list[Callback]:
        if self.subcommand == "fit":
            self.timer = Timer()
            self.best = BestCheckpoint(self.run, *self._monitor())
            return [
                self.best,
                LastCheckpoint(self.run),
                Interruption(self.run),
                AdversarialDiagnostics(),
                self.timer,
                *([] if self.options.trainer.enable_progress_bar is False else [RunProgress()]),
            ]
        if self.subcommand == "test":
            record = RecordWriter(self.run, self.options.experiment, self.options.seed_everything, self.resolved())
            to_wandb = [WandbReport(logger) for logger in self.loggers if isinstance(logger, RunLogger)]
            return [record, RetrievalGallery(self.run), ExamplesWriter(self.run), *to_wandb]
        return [EmbeddingsFile(self.run)] if self.subcommand == "predict" else []

    def _monitor(self) -> tuple[str, Any]:
        main = self.datamodule.protocols[0]
        return f"val/{main.id}/mean", "max" if main.higher_is_better else "min"

    # Running ---------------------------------------------------------------------------------------------------------

    def before_fit(self) -> None:
        """Make the folder ready, now that everything could be built, write the config and say what will happen."""
        if not _is_first_process():
            return
        self.run.prepare(self.options.overwrite)
        for logger in self.loggers:
            if isinstance(logger, RunLogger):
                logger.begin()
        header = f"# python -m cmr_lightning test --config {self.run.config}\n"
        write_whole(self.run.config, header + yaml.safe_dump(self.resolved(), sort_keys=False))
        _log_to(self.run)
        parameters = sum(p.numel() for p in self.model.parameters())
        print(
            f"{type(self.model).__name__} on {type(self.datamodule).__name__} ({self.datamodule.split.name}), seed "
            f"{self.options.seed_everything}, {parameters:,} parameters -> {self.run.path}"
        )

    def after_fit(self) -> None:
        """Note how the run ended."""
        if not _is_first_process():
            return
        monitor, mode = self._monitor()
        if not self.run.best.exists():
            raise UserError(
                f"No checkpoint was kept, because {monitor} was never measured: trainer.max_epochs or "
                f"trainer.max_steps ends the training before the first validation."
            )
        best = read_checkpoint(self.run.best)
        score = cast(torch.Tensor, self.best.best_model_score).item()
        selection = {
            "monitor": monitor,
            "mode": mode,
            "value": score,
            "epoch": best["epoch"],
            "step": best["global_step"],
        }
        self.run.write_summary(
            {
                "selection": selection,
                "wall_time_s": round(self.timer.time_elapsed("train"), 3),
                "peak_memory": peak_memory(),
                "updates": self.trainer.global_step,
                "epochs": self.trainer.current_epoch,
            }
        )
        print(f"Best {monitor} {score:.4f} after epoch {best['epoch'] + 1}, {best['global_step']} updates.")
        print(f"Next: python -m cmr_lightning test --config {self.run.config}")

    def validate(self, model: LightningModule, **kwargs: Any) -> None:
        """Measure the validation part, and print what was found."""
        self.trainer.validate(model, **{**kwargs, **self._weights(), "verbose": False})
        self._print_metrics("validation")

    def test(self, model: LightningModule, **kwargs: Any) -> None:
        """Measure the test part, and print what was found."""
        self.trainer.test(model, **{**kwargs, **self._weights(), "verbose": False})
        self._print_metrics("test")
        if _is_first_process():
            names = (self.run.ranks.name, self.run.examples.name)
            print(f"Wrote {self.run.record}, {', '.join(names)} and {self.run.gallery.name}.")

    def predict(self, model: LightningModule, **kwargs: Any) -> None:
        """Embed the test part."""
        self.trainer.predict(model, **{**kwargs, **self._weights(), "return_predictions": False})

    def _weights(self) -> dict[str, Any]:
        return {"ckpt_path": self.options.ckpt_path or str(self.run.best)}

    @rank_zero_only
    def _print_metrics(self, part: str) -> None:
        assert self.model.measurement is not None
        table = Table(title=f"{type(self.model).__name__} on {type(self.datamodule).__name__}, {part} part")
        table.add_column("protocol")
        columns = self.datamodule.protocols[0].columns
        for column in columns:
            table.add_column(column, justify="right")
        for protocol, values in self.model.measurement.metrics.items():
            table.add_row(protocol, *(f"{values[column]:.4g}" for column in columns))
        Console().print(table)


def _as_list(given: Any) -> list[Any]:
    """What a key that takes one thing or several was given."""
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _log_to(run: Run) -> None:
    """Keep what libraries and warnings say in the run's log file, too."""
    handler = logging.FileHandler(run.log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logging.captureWarnings(True)
    for name in _LOGGED:
        logging.getLogger(name).addHandler(handler)


def _close_logs() -> None:
    """Let go of the log file, so that a next command in the same process does not write into it."""
    for logger in map(logging.getLogger, _LOGGED):
        for handler in [h for h in logger.handlers if isinstance(h, logging.FileHandler)]:
            logger.removeHandler(handler)
            handler.close()


def main(arguments: Sequence[str]) -> None:
    """Run one command of Lightning.

    Args:
        arguments: The command and its options.

    Raises:
        UserError: If an interpolation of the config cannot be resolved, or the user has something else to mend.
    """
    quieten()
    try:
        with errors_for_people(), finished_at_the_end():
            RetrievalCLI(arguments)
    finally:
        _close_logs()
