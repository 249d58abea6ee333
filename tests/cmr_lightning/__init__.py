import cmr_lightning  # noqa: F401  (before Lightning, which imports torchvision)
