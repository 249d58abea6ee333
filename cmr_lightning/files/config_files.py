"""The config files that a command line names: found, and checked before anything that takes long is imported."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from cmr_lightning.errors import UserError
from cmr_lightning.files.yaml_file import read_settings

A_CONFIG_IS_CODE = (
    "A config is code: each class_path in it imports a module and runs what it names. Use only configs that you trust."
)


def given(arguments: Sequence[str], keys: Sequence[str]) -> list[tuple[str, str]]:
    """List the options `--key=value` and `--key value` of some keys, in the order of the command line.

    Raises:
        UserError: If one lacks its value.

    Examples:
        >>> given(["fit", "-c", "a.yaml", "--seed_everything=3", "--model.dim=8"], ["config", "seed_everything"])
        [('config', 'a.yaml'), ('seed_everything', '3')]
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for key in keys:
        flags = ["-c", "--config"] if key == "config" else [f"--{key}"]
        parser.add_argument(*flags, action="append", dest="given", default=[], type=partial(_pair, key))
    try:
        return parser.parse_known_args(list(arguments))[0].given
    except argparse.ArgumentError as error:
        raise UserError(f"The command line is not right: {error}.") from error


def _pair(key: str, value: str) -> tuple[str, str]:
    return key, value


def config_files(arguments: Sequence[str]) -> list[Path]:
    """Find the files that a command line gives by `--config` or `-c`.

    Raises:
        UserError: If the option lacks its value.
    """
    return [Path(value) for _, value in given(arguments, ["config"])]


def check_config_files(arguments: Sequence[str]) -> None:
    """Refuse config files that are missing, or are not YAML with keys.

    Raises:
        UserError: If one is.
    """
    for path in config_files(arguments):
        read_settings(path, "config file")
