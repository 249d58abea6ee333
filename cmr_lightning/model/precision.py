"""The precision that a model computes with, by the names that Lightning's trainer has for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

from cmr_lightning.batch import ComposedQuery, Text, Tokens
from cmr_lightning.errors import UserError

Module = TypeVar("Module", bound=torch.nn.Module)

_SHORT = {"None": "32-true", "32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}
_TYPES = {"32": torch.float32, "64": torch.float64, "16": torch.float16, "bf16": torch.bfloat16}
_NAMES = ("32-true", "64-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed")


@dataclass(frozen=True)
class Precision:
    """A type of numbers, for all of them or `mixed`: for products, beside 32 bits for what needs them."""

    dtype: torch.dtype
    mixed: bool

    @classmethod
    def named(cls, name: str | int | None, device: torch.device) -> "Precision":
        """Return the precision that Lightning's trainer calls so on a device.

        Raises:
            UserError: If there is none.

        Examples:
            >>> Precision.named("bf16-mixed", torch.device("cpu"))
            Precision(dtype=torch.bfloat16, mixed=True)
        """
        full = _SHORT.get(str(name), str(name))
        if full not in _NAMES:
            raise UserError(f"precision is {name!r}, but should be one of {', '.join(_NAMES)}.")
        kind, _, extent = full.partition("-")
        if full == "16-mixed" and device.type == "cpu":
            kind = "bf16"  # as Lightning, which has no 16-bit mixture there
        return cls(_TYPES[kind], extent == "mixed")

    @property
    def _of_weights(self) -> torch.dtype:
        return torch.float32 if self.mixed else self.dtype

    def convert_module(self, module: Module) -> Module:
        """Convert the weights; those of 32 bits stay, with what a closed form keeps in 64."""
        return module if self._of_weights == torch.float32 else module.to(self._of_weights)

    def convert(self, content: Text | ComposedQuery) -> Text | ComposedQuery:
        """Convert features to the type of the weights; pictures and tokens stay whole numbers."""
        if isinstance(content, ComposedQuery):
            source, text = (self.convert(part) for part in content)
            return ComposedQuery(source, text)  # type: ignore[arg-type]
        if isinstance(content, Tokens) or not content.is_floating_point():
            return content
        return content.to(self._of_weights)

    @contextmanager
    def computing(self, device: torch.device) -> Iterator[None]:
        """Compute so inside, without gradients."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self._of_weights)
        try:
            with torch.inference_mode(), torch.autocast(device.type, self.dtype, enabled=self.mixed):
                yield
        finally:
            torch.set_default_dtype(before)
