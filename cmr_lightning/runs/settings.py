"""Settings by their dotted names: as options of a command line, and in a config."""

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_CLASS = ("class_path", "init_args", "dict_kwargs")
_CLASS_PATH = ".class_path"


def as_options(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as options of a command line.

    Examples:
        >>> as_options({"trainer.max_epochs": 5, "model.hidden": [64, 32]})
        ['--trainer.max_epochs=5', '--model.hidden=[64, 32]']
    """
    return [f"--{key}={as_option(value)}" for key, value in settings.items()]


def as_option(value: Any) -> str:
    """Write a value as one word of a command line."""
    if isinstance(value, str):
        return value
    return yaml.safe_dump(value, default_flow_style=True, width=10**9).split("\n...")[0].strip()


def look_up(config: Any, key: str) -> Any:
    """Find the value that a config has at a dotted name, as the command line takes it; None if there is none.

    Examples:
        >>> config = {"model": {"class_path": "DAML", "init_args": {"dim": 8}}}
        >>> look_up(config, "model.dim"), look_up(config, "model.init_args.dim"), look_up(config, "model.margin")
        (8, 8, None)
    """
    for name in key.split("."):
        if not isinstance(config, Mapping):
            return None
        inside = config.get("init_args") or {} if "class_path" in config and name not in _CLASS else config
        config = inside.get(name)
    return config


def dotted(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write a config for a logger: values by their dotted names, classes by their short names, nothing for null.

    Examples:
        >>> dotted({"model": {"class_path": "methods.DAML", "init_args": {"dim": 8, "hidden": [4, 2], "ramp": None}}})
        {'model': 'DAML', 'model.dim': 8, 'model.hidden': '[4, 2]'}
    """
    found: dict[str, Any] = {}
    for name, value in _leaves(config):
        if name.endswith(_CLASS_PATH):
            found[name.removesuffix(_CLASS_PATH)] = value.rpartition(".")[2]
        elif value not in (None, {}):
            found[name] = value if isinstance(value, bool | int | float) else as_option(value)
    return found


def put(config: dict[str, Any], key: str, value: Any) -> None:
    """Set what the command line would set by a dotted name."""
    *path, last = key.split(".")
    for name in path:
        config = _scope(config, name)
        if isinstance(config.get(name), str):
            config[name] = {"class_path": config[name]}
        config = config.setdefault(name, {})
    config = _scope(config, last)
    if isinstance(config.get(last), dict) and "class_path" in config[last] and isinstance(value, str):
        config[last]["class_path"] = value
    else:
        config[last] = value


def changes(before: Any, now: Any) -> dict[str, tuple[Any, Any]]:
    """Return the values that differ between two configs, by the dotted names that the command line takes.

    Examples:
        >>> before = {"model": {"class_path": "DAML", "init_args": {"dim": 8, "ramp": True}}}
        >>> changes(before, {"model": {"class_path": "DAML", "init_args": {"dim": 9, "ramp": True}}})
        {'model.dim': (8, 9)}
    """
    old, new = ({name.removesuffix(_CLASS_PATH): value for name, value in _leaves(c)} for c in (before, now))
    keys = [key for key in (old | new) if old.get(key) != new.get(key)]
    return {key: (old.get(key), new.get(key)) for key in keys}


def _leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a config with their dotted names, those of a class as `model.class_path` and `model.dim`."""
    if not isinstance(config, Mapping) or not config:
        yield path, config
        return
    if "class_path" in config:
        yield f"{path}{_CLASS_PATH}", config["class_path"]
        config = {**(config.get("init_args") or {}), **(config.get("dict_kwargs") or {})}
    for name, value in config.items():
        yield from _leaves(value, f"{path}.{name}" if path else str(name))


def _scope(config: Any, name: str) -> Any:
    """Choose where to look a name up: among the arguments of a class, unless it is one of a class's own keys."""
    if "class_path" in config and name not in _CLASS:
        return config.setdefault("init_args", {})
    return config
