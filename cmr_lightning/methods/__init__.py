"""Methods, one paper per file. Each can be imported from here, and named by its class name in a config."""

from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from cmr_lightning.embedding_model import EmbeddingModel


def _defined_in(module: str) -> list[Any]:
    members = vars(import_module(f"{__name__}.{module}")).values()
    return [m for m in members if isinstance(m, type) and m.__module__ == f"{__name__}.{module}"]


METHODS: dict[str, type[EmbeddingModel]] = {
    member.__name__: member
    for module in iter_modules(__path__)
    for member in _defined_in(module.name)
    if issubclass(member, EmbeddingModel)
}
"""Every method of this folder, by class name."""


def __getattr__(name: str) -> type[EmbeddingModel]:
    """Return the method of a class name, so that `from cmr_lightning.methods import DAML` works for all of them."""
    try:
        return METHODS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


__all__ = ["METHODS", *METHODS]
