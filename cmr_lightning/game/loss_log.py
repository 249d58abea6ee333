"""Losses as they are logged: means since the last time, refused where they are not finite."""

import math
from collections.abc import Mapping

from torch import Tensor

from cmr_lightning.embedding_model import Embeddings
from cmr_lightning.errors import UserError


class LossLog:
    """Sums of losses by name, from which means are logged.

    Attributes:
        logged: Mean of the generator's total when it was last logged, None before the first time.

    Examples:
        >>> log = LossLog()
        >>> log.add("generator/total", 1.0)
        >>> log.add("generator/total", 3.0)
        >>> log.recent
        2.0
        >>> log.means()
        {'train/generator/total': 2.0}
    """

    def __init__(self) -> None:
        self.logged: float | None = None
        self._sums: dict[str, tuple[float, int]] = {}

    def add(self, name: str, value: float) -> None:
        """Add one value to the mean of a loss."""
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + value, count + 1

    def means(self) -> dict[str, float]:
        """Return the means since the last call, under the names they are logged by, and start over."""
        means = {f"train/{name}": total / count for name, (total, count) in self._sums.items()}
        self.logged = means.get("train/generator/total")
        self._sums = {}
        return means

    @property
    def recent(self) -> float | None:
        """The generator's total as last logged, before that the mean so far; None where it has not moved."""
        if self.logged is None and "generator/total" in self._sums:
            total, count = self._sums["generator/total"]
            return total / count
        return self.logged

    def state_dict(self) -> dict[str, tuple[float, int]]:
        """Return sums and counts, for a checkpoint."""
        return dict(self._sums)

    def load_state_dict(self, state: Mapping[str, tuple[float, int]]) -> None:
        """Continue from sums and counts of a checkpoint."""
        self._sums |= {name: (float(total), count) for name, (total, count) in state.items()}


def check_losses(player: str, values: Mapping[str, float], updates: int, remedy: str) -> None:
    """Raise UserError, with the terms' names, if a loss is not finite."""
    if not all(map(math.isfinite, values.values())):
        raise _diverged(f"{player}'s loss", values, updates, remedy)


def check_embeddings(embeddings: Embeddings, updates: int) -> None:
    """Raise UserError, with the modalities' names, if embeddings are not finite."""
    # One sum over both modalities costs one synchronisation with the device instead of two.
    if math.isfinite((embeddings.image.sum() + embeddings.text.sum()).item()):
        return
    witnesses = {"image": _witness(embeddings.image), "text": _witness(embeddings.text)}
    if not all(map(math.isfinite, witnesses.values())):  # finite numbers may be too large for a sum
        raise _diverged(
            "embeddings of", witnesses, updates, "a smaller model.generator_optimizer.lr or model.generator_clip"
        )


def _witness(values: Tensor) -> float:
    """Return one of the numbers that are not finite, or 0."""
    infinite = values[~values.isfinite()]
    return infinite[0].item() if len(infinite) else 0.0


def _diverged(what: str, values: Mapping[str, float], updates: int, remedy: str) -> UserError:
    names = ", ".join(f"`{name}` ({value})" for name, value in values.items() if not math.isfinite(value))
    return UserError(
        f"Training stopped after {updates} updates, because the {what} {names} went out of range; {remedy} usually "
        f"helps."
    )
