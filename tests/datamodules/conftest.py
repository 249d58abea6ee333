"""The miniature of the data set that a test's file is named after, only to be read."""

from pathlib import Path

import pytest

from datamodules.base import CrossModalData
from tests.datamodules.published import DATASETS


@pytest.fixture(scope="module")
def miniature(request: pytest.FixtureRequest, invented_data: Path) -> Path:
    return invented_data / request.module.__name__.rpartition(".test_")[2]


@pytest.fixture(scope="module")
def data(miniature: Path) -> CrossModalData:
    return DATASETS[miniature.name].load(miniature)
