"""What all tests share: a small data set in memory, and no network."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

from pathlib import Path

import pytest

import cmr_lightning  # noqa: F401  (before Lightning, which imports torchvision)


@pytest.fixture
def real_data() -> Path:
    """Folder with the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("CMR_DATA")
    if not folder:
        pytest.skip("needs real data sets: set CMR_DATA to the folder that holds wikipedia/, pascal_sentence/, ...")
    return Path(folder)
