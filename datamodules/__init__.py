"""Data sets, one per file. Every `CrossModalData` defined in this folder can be named by its class name in a config."""

from importlib import import_module
from pkgutil import iter_modules

import cmr_lightning  # noqa: F401  (before Lightning, so that torchvision loads beside a CPU build of torch)
from datamodules.base import CrossModalData, Split
from datamodules.reading.loaders import Part
from datamodules.trained_on import TrainedOn

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["CrossModalData", "Part", "Split", "TrainedOn"]
