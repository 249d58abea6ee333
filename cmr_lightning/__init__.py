"""Adversarial cross-modal retrieval: trained, compared and trusted under the same rules.

Importing the package is cheap: torch and Lightning are imported by the modules that need them.
"""

from cmr_lightning import _torchvision

__version__ = "0.1.0"

_torchvision.install()
