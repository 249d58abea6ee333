"""What a config of somebody else may name: classes of this package and of torch, nothing that Python would import."""

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from cmr_lightning.errors import UserError

_KNOWN = ("cmr_lightning.", "datamodules.", "torch.nn.", "torch.optim.")


def refuse_strangers(config: Any, file: object) -> None:
    """Raise UserError if a config, as `file` has it, names what this package or torch does not define.

    Examples:
        >>> refuse_strangers({"class_path": "torch.optim.Adam", "init_args": {"lr": 0.1}}, "best.ckpt")
    """
    for name in _named(config):
        if not _is_known(name):
            raise UserError(
                f"{file} names {name}, which is neither of this package nor of torch, so building the model would run "
                f"other code; pass trust=True if it is yours, or of somebody whom you trust."
            )


def _is_known(name: str) -> bool:
    """Tell whether a dotted name is of a known package, and what it names is defined there and not just imported."""
    if not name.startswith(_KNOWN):
        return False
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(import_module(module), attribute, None)
    except ImportError:
        return False
    return found is None or f"{found.__module__}.".startswith(_KNOWN)  # the parser says it where there is none


def _named(config: Any) -> Iterator[str]:
    """List the texts of a config that its parser would import: class paths, and whatever else looks like one."""
    if isinstance(config, dict):
        for key, value in config.items():
            if key == "class_path":
                yield str(value)
            else:
                yield from _named(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from _named(value)
    elif isinstance(config, str) and _can_be_imported(config):
        yield config


def _can_be_imported(text: str) -> bool:
    """Tell whether a text is a dotted name of a module that is here: `os.system` is, `resnet18.a1_in1k` is not."""
    first, *others = text.split(".")
    return bool(others) and all(map(str.isidentifier, (first, *others))) and find_spec(first) is not None
