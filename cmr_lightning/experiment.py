"""An experiment as the command line gives it: parsed, resolved, and refused in one sentence where it is not right."""

import logging
import warnings
from collections.abc import Sequence
from enum import Enum
from typing import Any

import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import register_type
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI

import cmr_lightning.callbacks
import cmr_lightning.discriminators
import cmr_lightning.encoders
import cmr_lightning.game
import cmr_lightning.methods  # noqa: F401  (makes the short class names known)
from cmr_lightning.batch import DataSpec
from cmr_lightning.config_errors import errors_for_people, refuse_null, set_up_parsing
from cmr_lightning.embedding_model import EmbeddingModel, validation_scores
from cmr_lightning.files.config_files import A_CONFIG_IS_CODE, config_files
from cmr_lightning.files.yaml_file import load_yaml
from cmr_lightning.ranges import Seed
from datamodules import CrossModalData

# It is linked and never parsed: None until the model is built.
register_type(
    DataSpec, serializer=lambda spec: spec, type_check=lambda spec, _: spec is None or isinstance(spec, DataSpec)
)
yaml.SafeDumper.add_multi_representer(Enum, lambda dumper, choice: dumper.represent_data(choice.value))  # as of `Timer`

_ASKED_FOR = ("pytorch_lightning.profilers.profiler", "pytorch_lightning.callbacks.model_summary")
_ONLY_FOR_THIS_CALL = ("ckpt_path", "weights_only", "resume", "overwrite")


class ExperimentCLI(LightningCLI):
    """Parses an experiment and resolves its config; what builds and runs it is in `cli`."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.config_files = config_files(arguments)
        self.command = arguments[0]
        set_up_parsing()
        super().__init__(
            EmbeddingModel,
            CrossModalData,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,  # it would tie the model to the command line; they are copied together
            parser_kwargs={"parser_mode": "omegaconf+", "prog": "python -m cmr_lightning"},
            args=list(arguments),
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse, and refuse null where a parameter may not be None."""
        super().parse_arguments(parser, args)
        refuse_null(parser, self.config)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # Lightning calls it on the instance
        """Take the given command alone: each has a parser of its own, which takes long to build."""
        known = super().subcommands()
        return {self.command: known[self.command]} if self.command in known else known

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that raises its errors instead of exiting, and takes no abbreviation for a key."""
        return super().init_parser(**kwargs, exit_on_error=False, allow_abbrev=False, epilog=A_CONFIG_IS_CODE)

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the seed, a number: Lightning would also take a truth value, for no seed or a random one."""
        parser.add_argument("--seed_everything", type=Seed, default=0, help="Seed of everything that is drawn.")

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run's folder, and the one link between data and model."""
        parser.add_argument("--experiment", type=str | None, help="Name of the experiment (default: from --config).")
        parser.add_argument(
            "--run_dir", type=str | None, help="Folder of the run (default: runs/<experiment>/seed<seed_everything>)."
        )
        parser.link_arguments("data", "model.init_args.spec", compute_fn=self.spec_of, apply_on="instantiate")

    def spec_of(self, data: CrossModalData) -> DataSpec:
        """Return what the model must know of the data."""
        return data.spec

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument("--resume", type=bool, default=False, help="Continue from the run's newest checkpoint.")
            parser.add_argument("--overwrite", type=bool, default=False, help="Delete an earlier run's folder first.")
        return parser

    def _parse_ckpt_path(self) -> None:
        """Keep to the config: Lightning would let a checkpoint's settings win over it."""

    @property
    def options(self) -> Namespace:
        """The resolved options of the command."""
        return self.config[self.subcommand]

    def resolved(self) -> dict[str, Any]:
        """Return the resolved config as plain values, good for `fit` and for every other command."""
        options = self.options.clone()
        for key in _ONLY_FOR_THIS_CALL:
            options.pop(key, None)
        dumped = self._parser(self.subcommand).dump(options, skip_none=False, skip_validation=True)
        return load_yaml(dumped)


class _Resolving(ExperimentCLI):
    """Parses an experiment and builds nothing."""

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def resolved_config(arguments: Sequence[str]) -> dict[str, Any]:
    """Resolve the config of a command line as a run writes it into `config.yaml`, without building or running anything.

    Raises:
        UserError: If the config is not right.
    """
    quieten()
    with errors_for_people(config_files(arguments)):
        return _Resolving(arguments).resolved()


def build_data(config: dict[str, Any]) -> CrossModalData:
    """Build the data set that the part `data` of a resolved config names; no file of it is read.

    Raises:
        UserError: If the config does not fit the classes that it names.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(CrossModalData, "data")
    with errors_for_people():
        return parser.instantiate_classes(parser.parse_object({"data": config})).data


def build_model(config: dict[str, Any], spec: DataSpec) -> EmbeddingModel:
    """Build the model that the part `model` of a resolved config names.

    Raises:
        UserError: If the config does not fit the classes that it names, or these not the data.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(EmbeddingModel, "model")
    whole = {**config, "init_args": {**config.get("init_args", {}), "spec": spec}}
    with errors_for_people():
        return parser.instantiate_classes(parser.parse_object({"model": whole})).model


def data_checksum(config: dict[str, Any]) -> str:
    """Compute the checksum of the data that the part `data` of a resolved config names, as they are now.

    Raises:
        UserError: If they cannot be read.
    """
    with errors_for_people():
        return build_data(config).checksum()


def scores_in_validation(config: dict[str, Any]) -> list[str]:
    """Name the scores that `fit` logs on the validation part of the data that the part `data` of a config names.

    Raises:
        UserError: If the data cannot be had.
    """
    with errors_for_people():
        return list(validation_scores(build_data(config).protocols))


def quieten() -> None:
    """Silence warnings and messages of libraries that say nothing about the run."""
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
            handler.addFilter(_is_shown)


def _is_shown(message: logging.LogRecord) -> bool:
    """Tell whether a message of Lightning is a warning, or something that the user asked for."""
    return message.levelno >= logging.WARNING or message.name in _ASKED_FOR
