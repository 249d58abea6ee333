"""`fit`, `validate`, `test` and `predict`: LightningCLI, where a run lives in a folder of its own."""

from __future__ import annotations

import argparse
import logging
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.accelerators import MPSAccelerator
from pytorch_lightning.callbacks import Timer
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.loggers import Logger, WandbLogger
from pytorch_lightning.plugins.io import CheckpointIO
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.table import Table

import cmr_lightning.discriminators
import cmr_lightning.encoders
import cmr_lightning.methods
import cmr_lightning.schedules  # noqa: F401  (makes the short class names known)
from cmr_lightning.callbacks import (
    AdversarialDiagnostics,
    BestCheckpoint,
    EmbeddingsFile,
    ExamplesWriter,
    Interruption,
    LastCheckpoint,
    RecordWriter,
    RetrievalGallery,
    RunProgress,
)
from cmr_lightning.checkpoints import RunCheckpoints, newest_checkpoint, read_checkpoint
from cmr_lightning.config_errors import errors_for_people
from cmr_lightning.embedding_model import EmbeddingModel, validation_scores
from cmr_lightning.errors import UserError
from cmr_lightning.evaluation.memory import peak_memory
from cmr_lightning.metrics_file import MetricsFile
from cmr_lightning.precision import TwoPlayerPrecision
from cmr_lightning.runs import Run, experiment_name, run_of_config
from cmr_lightning.unprofiled import Unprofiled
from cmr_lightning.wandb_logging import RunLogger, WandbReport, finished_at_the_end
from cmr_lightning.whole_file import write_whole
from datamodules import CrossModalData

_LOGGED = ("pytorch_lightning", "py.warnings")
_ONLY_FOR_THIS_CALL = ("ckpt_path", "weights_only", "resume", "overwrite")


class RetrievalCLI(LightningCLI):
    """Parses an experiment, builds its parts and runs one command in the run's folder."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.config_files = config_files(arguments)
        set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
        super().__init__(
            EmbeddingModel,
            CrossModalData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            seed_everything_default=0,
            auto_configure_optimizers=False,
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "python -m cmr_lightning"},
            args=list(arguments),
        )

    # Parsing ---------------------------------------------------------------------------------------------------------

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser that raises its errors instead of exiting, and takes no abbreviation for a key."""
        return super().init_parser(**kwargs, exit_on_error=False, allow_abbrev=False)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """The run's folder, and the one link between data and model."""
        parser.add_argument("--experiment", type=str | None, help="Name of the experiment (default: from --config).")
        parser.add_argument(
            "--run_dir", type=str | None, help="Folder of the run (default: runs/<experiment>/seed<seed_everything>)."
        )
        parser.link_arguments("data.spec", "model.init_args.spec", apply_on="instantiate")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument("--resume", type=bool, default=False, help="Go on from the run's last checkpoint.")
            parser.add_argument("--overwrite", type=bool, default=False, help="Throw an earlier run's folder away.")
        return parser

    def _parse_ckpt_path(self) -> None:
        """Keep to the config: Lightning would let a checkpoint's settings win over it."""

    @property
    def options(self) -> Namespace:
        """The resolved options of the command."""
        return self.config[self.subcommand]

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
        options["profiler"] = options["profiler"] or Unprofiled()
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
        config, scores = self._config(), validation_scores(self.datamodule.protocols)
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
            record = RecordWriter(self.run, self.options.experiment, self.options.seed_everything, self._config())
            to_wandb = [WandbReport(logger) for logger in self.loggers if isinstance(logger, RunLogger)]
            return [record, RetrievalGallery(self.run), ExamplesWriter(self.run), *to_wandb]
        return [EmbeddingsFile(self.run)] if self.subcommand == "predict" else []

    def _monitor(self) -> tuple[str, Any]:
        main = self.datamodule.protocols[0]
        return f"val/{main.id}/mean", "max" if main.higher_is_better else "min"

    def _config(self) -> dict[str, Any]:
        """The resolved config as plain values, good for `fit` and for every other command."""
        options = self.options.clone()
        for key in _ONLY_FOR_THIS_CALL:
            options.pop(key, None)
        dumped = self._parser(self.subcommand).dump(options, skip_none=False, skip_validation=True)
        return yaml.safe_load(dumped)

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
        write_whole(self.run.config, header + yaml.safe_dump(self._config(), sort_keys=False))
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


class _Resolving(RetrievalCLI):
    """Parses an experiment and builds nothing."""

    def before_instantiate_classes(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def resolved_config(arguments: Sequence[str]) -> dict[str, Any]:
    """What `config.yaml` of a run will say, without building or running anything.

    Args:
        arguments: A command and its options.

    Raises:
        UserError: If the config is not right.
    """
    _quieten()
    with errors_for_people():
        return _Resolving(arguments)._config()


def data_checksum(config: dict[str, Any]) -> str:
    """Checksum of the data that the part `data` of a resolved config names, as they are now.

    Raises:
        UserError: If they cannot be read.
    """
    with errors_for_people():
        return _datamodule(config).checksum()


def scores_in_validation(config: dict[str, Any]) -> list[str]:
    """Names of the scores that `fit` logs on the validation part of the data that the part `data` of a config names.

    Raises:
        UserError: If the data cannot be had.
    """
    with errors_for_people():
        return list(validation_scores(_datamodule(config).protocols))


def _datamodule(config: dict[str, Any]) -> CrossModalData:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(CrossModalData, "data")
    return parser.instantiate_classes(parser.parse_object({"data": config})).data


def config_files(arguments: Sequence[str]) -> list[Path]:
    """The files that a command line gives by `--config` or `-c`, which the parsed options no longer tell."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("-c", "--config", action="append", type=Path, default=[])
    return parser.parse_known_args(list(arguments))[0].config


def _as_list(given: Any) -> list[Any]:
    """What a key that takes one thing or several was given."""
    return [] if given is None else list(given) if isinstance(given, list | tuple) else [given]


def _is_first_process() -> bool:
    return getattr(rank_zero_only, "rank", 0) == 0


def _quieten() -> None:
    """Keep what says nothing about the run away from the terminal."""
    for message in (
        ".*LightningCLI's args parameter is intended to run from within Python.*",
        ".*does not have many workers.*",
        ".*is smaller than the logging interval.*",
        ".*`LightningModule.configure_optimizers` returned `None`.*",
        ".*callbacks used to create the checkpoint need to be provided.*",
        ".*isinstance.treespec, LeafSpec.*",
        ".*Couldn't infer the batch indices fetched from your dataloader.*",
        ".*It is recommended to use .*sync_dist=True.*",  # all processes measure the same
    ):
        warnings.filterwarnings("ignore", message)
    for name in ("pytorch_lightning", "lightning_fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.setLevel(logging.WARNING)


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
    _quieten()
    try:
        with errors_for_people(), finished_at_the_end():
            RetrievalCLI(arguments)
    finally:
        _close_logs()
