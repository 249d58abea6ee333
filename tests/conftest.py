"""Fixtures of all tests: small data sets, no network, and the same signal handlers before and after."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import cmr_lightning  # noqa: F401  (before Lightning, which imports torchvision)
from tests.building import write_toy
from tests.datamodules.published import write_all
from tests.toy import Toy


@pytest.fixture
def real_data() -> Path:
    """Folder with the real data sets; the test is skipped where there is none."""
    folder = os.environ.get("CMR_DATA")
    if not folder:
        pytest.skip("needs real data sets: set CMR_DATA to the folder that holds wikipedia/, pascal_sentence/, ...")
    return Path(folder)


@pytest.fixture(scope="session")
def invented_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with data sets in their published form and invented content, for tests that only read it."""
    root = tmp_path_factory.mktemp("invented_data")
    write_all(root)
    return root


@pytest.fixture
def data() -> Toy:
    """Ninety-six pairs of four classes to train on, in six batches."""
    return Toy()


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """An experiment on them, which runs in a second."""
    return write_toy(tmp_path / "toy.yaml")


@pytest.fixture(autouse=True)
def same_handler_of_ctrl_c() -> Iterator[None]:
    """Undo what a command that was stopped changes for the whole process."""
    interrupt = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, interrupt)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since the last time, however its lines are wrapped."""
    return lambda: " ".join("".join(capsys.readouterr()).split())


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `test` collect the rows of its gallery without drawing them, which takes most of its time."""
    monkeypatch.setattr("cmr_lightning.callbacks.gallery.draw_gallery", lambda rows, title, path: None)
