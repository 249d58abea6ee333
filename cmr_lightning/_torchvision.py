"""Makes torchvision importable beside a CPU build of torch.

The published torchvision wheels for Linux are linked against CUDA. Beside a CPU build of torch their operators do not
load, so that `import torchvision` fails, and with it timm, torchmetrics and pytorch_lightning. It is enough to declare
the two operators that torchvision looks up during its import: what is written in Python works, while
`torchvision.ops.nms` and torchvision's image decoders, which this project does not use, raise a clear error of torch.
"""

import importlib.machinery
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


class _TorchvisionFinder(MetaPathFinder):
    """Runs once, just before torchvision is imported, and then removes itself."""

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


_declared: list[object] = []  # the operators exist only as long as their library object


def install() -> None:
    """Register the finder, unless there is one, or torchvision is already imported.

    torch calls this, too, when it is imported where this project is installed (see pyproject.toml), so that Lightning
    may be imported before `cmr_lightning`.
    """
    if "torchvision" not in sys.modules and not any(isinstance(f, _TorchvisionFinder) for f in sys.meta_path):
        sys.meta_path.insert(0, _TorchvisionFinder())
