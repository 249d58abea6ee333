"""Lets torchvision load beside a CPU build of torch.

The published torchvision wheels for Linux are linked against CUDA. Beside a CPU build of torch their operators do not
load, and then `import torchvision` fails, and with it timm, torchmetrics and pytorch_lightning. Declaring the two
operators that torchvision looks up while it is imported is enough: everything that is written in Python works, while
`torchvision.ops.nms` and torchvision's own image decoders stay unavailable, with a clear error of torch. This project
uses neither.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _TorchvisionFinder(MetaPathFinder):
    """Runs once, just before torchvision is imported, and then steps aside; it costs nothing until then."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name == "torchvision":
            sys.meta_path.remove(self)
            _declare_missing_operators(importlib.machinery.PathFinder.find_spec(name, path))
        return None  # the ordinary finders do the import


def _declare_missing_operators(spec: ModuleSpec | None) -> None:
    import torch

    if spec is None or spec.origin is None or torch.version.cuda or torch.version.hip:
        return
    for library in Path(spec.origin).parent.glob("_C*.so"):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return  # a build that matches this torch: nothing is missing
    operators = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        operators.define(operator + _SCHEMA)
    _declared.append(operators)


_declared: list[object] = []  # a torch library's operators vanish with it


def install() -> None:
    """Put the finder in front of the import system, unless torchvision is imported already."""
    if "torchvision" not in sys.modules:
        sys.meta_path.insert(0, _TorchvisionFinder())
