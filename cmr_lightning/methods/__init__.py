"""Methods, one paper per file. Every method defined in this folder can be named by its class name in a config."""

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

__all__ = ["METHODS"]
