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


@pytest.fixture
def real(request: pytest.FixtureRequest, real_data: Path) -> Path:
    """The real copy of that data set; the test is skipped where there is none."""
    return real_data / request.module.__name__.rpartition(".test_")[2]
