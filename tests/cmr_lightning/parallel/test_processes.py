"""Two processes with half of the batch each do what one process does with the whole."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cmr_lightning.methods import METHODS
from tests.building import ROOT
from tests.cmr_lightning.parallel.side_by_side import OTHERS, UPDATES

TRAININGS = [*METHODS, *OTHERS]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def observed(invented_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with what one process and each of two observed in every training."""
    folder = tmp_path_factory.mktemp("side_by_side")
    command = [sys.executable, "-m", "tests.cmr_lightning.parallel.side_by_side", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CMR_DATA": str(invented_data), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


def of(folder: Path, training: str) -> tuple[dict[str, Any], ...]:
    return tuple(torch.load(folder / f"{training}.{process}.pt") for process in ("alone", "0", "1"))


@pytest.mark.parametrize("training", TRAININGS)
def test_losses_gradients_and_weights_agree(training: str, observed: Path) -> None:
    alone, first, second = of(observed, training)
    assert len(alone["losses"]) == len(first["losses"])
    if training not in OTHERS:
        assert len(alone["losses"]) == (UPDATES if alone["gradients"] else 1)
    for what in ("losses", "gradients", "weights", "shares"):
        for together in (first, second):
            torch.testing.assert_close(together[what], alone[what], rtol=0, atol=1e-5)
    assert all(torch.equal(first["weights"][name], second["weights"][name]) for name in first["weights"])


@pytest.mark.parametrize("training", TRAININGS)
def test_metrics_agree_and_no_item_is_counted_twice(training: str, observed: Path) -> None:
    alone, *both = of(observed, training)
    for together in both:
        for protocol, values in alone["metrics"].items():
            assert together["metrics"][protocol] == pytest.approx(values, abs=1e-6)
        for name, arrays in alone["ranks"].items():
            assert all(map(torch.equal, together["ranks"][name], arrays)), name


@pytest.mark.parametrize("training", TRAININGS)
def test_what_is_known_of_the_game_agrees(training: str, observed: Path) -> None:
    alone, *both = of(observed, training)
    for together in both:
        for name, value in alone["game"].items():
            close = pytest.approx(value, abs=1e-3) if isinstance(value, float) else value  # an answer may turn over
            assert together["game"][name] == close, name
