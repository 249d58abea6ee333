"""The precision that a model computes with: Lightning's own, by the names that its trainer has for them."""

import torch
from pytorch_lightning.plugins.precision import DoublePrecision, HalfPrecision, MixedPrecision, Precision

from cmr_lightning.errors import UserError

_SHORT = {"None": "32-true", "32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}
_NAMES = ("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")


def named_precision(name: str | int | None, device: torch.device) -> Precision:
    """Return the precision that Lightning's trainer calls so on a device.

    Raises:
        UserError: If there is none.

    Examples:
        >>> named_precision("bf16-mixed", torch.device("cpu")).precision
        'bf16-mixed'
    """
    full = _SHORT.get(str(name), str(name))
    if full not in _NAMES:
        raise UserError(f"precision is {name!r}, but should be one of {', '.join(_NAMES)}.")
    if full == "16-mixed" and device.type == "cpu":
        full = "bf16-mixed"  # as Lightning, which has no 16-bit mixture there
    if full.endswith("-mixed"):
        return MixedPrecision(full, device.type)  # type: ignore[arg-type]
    if full == "64-true":
        return DoublePrecision()
    return Precision() if full == "32-true" else HalfPrecision(full)  # type: ignore[arg-type]
