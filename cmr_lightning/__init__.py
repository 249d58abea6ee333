"""Adversarial cross-modal retrieval: trained, compared and trusted under the same rules.

Importing the package is cheap: torch and Lightning are imported by the modules that need them.
"""

from importlib import import_module
from typing import Any

from cmr_lightning import _torchvision

__version__ = "0.1.0"

_torchvision.install()


def __getattr__(name: str) -> Any:
    """Import `load`, see `cmr_lightning.model`, when it is asked for: it takes seconds."""
    if name == "load":
        return import_module("cmr_lightning.model").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
