"""`fit`, `validate`, `test` and `predict`: what can be refused without torch is refused before it is imported.

Imports take seconds. What the command line and its config files say of the run is read here by hand, and checked again
once jsonargparse has read everything; whatever is not plain, such as an interpolation, is left to that.
"""

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.config_files import given
from cmr_lightning.files.yaml_file import load_yaml, read_settings
from cmr_lightning.runs.run_of_command import run_of_command

_OF_THE_RUN: dict[str, type] = {
    "experiment": str,
    "run_dir": str,
    "seed_everything": int,
    "ckpt_path": str,
    "resume": bool,
    "overwrite": bool,
}
_OF_ALL = ("model", "data", "trainer", "experiment", "run_dir", "seed_everything", "ckpt_path", "weights_only")
KEYS: dict[str, tuple[str, ...]] = {
    "fit": (*_OF_ALL, "resume", "overwrite"),
    "validate": (*_OF_ALL, "verbose"),
    "test": (*_OF_ALL, "verbose"),
    "predict": (*_OF_ALL, "return_predictions"),
}
"""The keys of each command at the top, in config files and on the command line."""

_ONLY_OPTIONS = ("config", "print_config", "help")


def main(arguments: Sequence[str]) -> None:
    """Run one command of Lightning.

    Raises:
        UserError: If the config, its files or the run's folder need to be fixed first.
    """
    refuse_early(arguments[0], arguments[1:])
    import_module("cmr_lightning.cli").main(arguments)


def refuse_early(command: str, words: Sequence[str]) -> None:
    """Refuse unknown keys, and what the command cannot do in its run's folder.

    Raises:
        UserError: If there is something to refuse.

    Examples:
        >>> refuse_early("test", ["--modle=DAML"])  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        cmr_lightning.errors.UserError: The command line has a key modle, which `test` does not know; its keys ...
    """
    names = [word[2:].partition("=")[0] for word in words if word.startswith("--") and word != "--"]
    _refuse_unknown("The command line", command, names, (*KEYS[command], *_ONLY_OPTIONS))
    options: dict[str, Any] = {"seed_everything": 0, "resume": False, "overwrite": False}
    configs, trial = [], any("fast_dev_run" in word for word in words)
    for key, value in given(words, ["config", *_OF_THE_RUN]):
        if key == "config":
            configs.append(Path(value))
            content = read_settings(configs[-1], "config file")
            _refuse_unknown(value, command, map(str, content), KEYS[command])
            trial = trial or "fast_dev_run" in str(content.get("trainer"))
            options |= {key: content[key] for key in _OF_THE_RUN if key in content}
        else:
            options[key] = value if _OF_THE_RUN[key] is str and value != "null" else load_yaml(value)
    builds_nothing = {"-h", "--help", "--print_config"} & set(words) or any(name.endswith(".help") for name in names)
    if not builds_nothing and all(_is_plain(key, options.get(key)) for key in _OF_THE_RUN):
        run_of_command(command, configs, SimpleNamespace(**{**dict.fromkeys(_OF_THE_RUN), **options}), trial)


def _refuse_unknown(where: str, command: str, names: Iterable[str], known: Sequence[str]) -> None:
    for name in names:
        if name.partition(".")[0].rstrip("+") not in known:
            keys = ", ".join(KEYS[command])
            raise UserError(f"{where} has a key {name}, which `{command}` does not know; its keys begin with {keys}.")


def _is_plain(key: str, value: Any) -> bool:
    """Tell whether a value is what it will be for the command: not of another type, and no interpolation."""
    return value is None or (type(value) is _OF_THE_RUN[key] and "${" not in str(value))
