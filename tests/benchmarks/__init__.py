"""Measurements of speed, each a ratio of two things measured alternately in one run, and simulations; no tests."""

import cmr_lightning  # noqa: F401  (before Lightning, which imports torchvision)
