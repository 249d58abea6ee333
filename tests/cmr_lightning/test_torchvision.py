"""Lightning beside a CPU build of torch, whichever is imported first."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cmr_lightning import _torchvision
from tests.building import ROOT


def test_torchvision_is_helped_where_this_project_is_installed(tmp_path: Path) -> None:
    """Before whatever imports it: Lightning, timm, torchmetrics. torch reads the entry points of distributions.

    So Lightning may be imported first.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name, target), *_ = project["entry-points"]["torch.backends"].items()
    metadata = tmp_path / "cmr_lightning-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: cmr_lightning\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(f"[torch.backends]\n{name} = {target}\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    code = "import sys, torch; print(*map(type, sys.meta_path)); import pytorch_lightning"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "_TorchvisionFinder" in done.stdout


def test_the_finder_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    before = len([f for f in sys.meta_path if isinstance(f, _torchvision._TorchvisionFinder)])
    for _ in range(3):
        _torchvision.install()
    assert len([f for f in sys.meta_path if isinstance(f, _torchvision._TorchvisionFinder)]) == max(1, before)
