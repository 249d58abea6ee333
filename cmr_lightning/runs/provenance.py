"""Provenance of a number: versions, code, machine."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "cmr_lightning",
    "torch",
    "torchvision",
    "pytorch-lightning",
    "torchmetrics",
    "timm",
    "transformers",
    "numpy",
    "scipy",
    "scikit-learn",
)
"""The packages on which numbers depend."""


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """Look up the versions of Python and of those `packages` that are installed, without importing them."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_revision(file: Path = Path(__file__)) -> str | None:
    """Find the commit that `file` is checked out from, by default that of this code; None without a checkout or git.

    It ends in `-dirty` if a tracked file differs from the commit.
    """
    try:
        _git(file.parent, "ls-files", "--error-unmatch", file.name)  # an environment may lie in a foreign repository
        return _git(file.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def hardware() -> dict[str, Any]:
    """Describe the machine: `system`, `cpu`, `cores`, the `threads` that torch uses, and the names of its `gpus`."""
    import torch  # here, so that versions are there without waiting for it

    return {
        "system": platform.platform(),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }
