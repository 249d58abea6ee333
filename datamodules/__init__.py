"""Data sets, one per file. Each can be imported from here, and named by its class name in a config."""

from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules

import cmr_lightning  # noqa: F401  (before Lightning, so that torchvision loads beside a CPU build of torch)
from datamodules.base import CrossModalData, Split
from datamodules.reading.loaders import Part
from datamodules.trained_on import TrainedOn

DATA_SETS: dict[str, type[CrossModalData]] = {
    member.__name__: member
    for module in iter_modules(__path__)
    for member in vars(import_module(f"{__name__}.{module.name}")).values()
    if isinstance(member, type)
    and issubclass(member, CrossModalData)
    and member.__module__ == f"{__name__}.{module.name}"
    and not isabstract(member)
}
"""Every data set of this folder, by class name."""


def __getattr__(name: str) -> type[CrossModalData]:
    """Return the data set of a class name, so that `from datamodules import Shapes` works for all of them."""
    try:
        return DATA_SETS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


__all__ = ["DATA_SETS", "CrossModalData", "Part", "Split", "TrainedOn", *DATA_SETS]
