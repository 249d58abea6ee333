"""What a run remembers of its game: shares of the gradient by update, and the figures of the last validation."""

from collections.abc import Mapping
from statistics import mean
from typing import Any, NamedTuple

from torch import Tensor

from cmr_lightning.losses import AdversarialMode

NO_GAME: dict[str, Any] = {
    "discriminator_accuracy": None,
    "discriminator_entropy": None,
    "probe_accuracy": None,
    "probe_accuracy_raw": None,
    "gradient_share": None,
    "modality_gap": None,
    "mmd": None,
    "length_ratio": None,
    "items": None,
    "mode": None,
    "state": "none",
}
"""What every record says of its game, where nothing was measured: that of a model which is not trained by gradients."""


class OwnGame(NamedTuple):
    """A game of a method's own beside that of the modalities, on items of one process that trained nobody.

    Attributes:
        points: N items in R views, `(N, R, D)`, in the order of their part.
        logits: What the discriminator answers, `(N, R, R)`; the right answer about view r is r.
        mode: What the generator minimises against it.
    """

    points: Tensor
    logits: Tensor
    mode: AdversarialMode | None


class GameLog:
    """The game of one run so far; a checkpoint keeps it.

    Attributes:
        figures: Those of the last validation and `state`, by the names of the record; empty before the first.

    Examples:
        >>> log = GameLog()
        >>> for update, share in ((0, 0.0), (25, 0.1), (50, 0.2), (75, 0.4)):
        ...     log.note("alignment", update, share)
        >>> round(log.share("alignment"), 3)
        0.3
    """

    def __init__(self) -> None:
        self.figures: dict[str, Any] = {}
        self._shares: dict[str, list[tuple[int, float]]] = {}

    def note(self, term: str, update: int, share: float) -> None:
        """Add the share of the generator's gradient that a term with a weight has at an update, 0 to 1."""
        self._shares.setdefault(term, []).append((update, share))

    def share(self, term: str) -> float | None:
        """Average the shares of a term over the second half of the updates so far, those without weight left out.

        None if it never had a weight.
        """
        noted = self._shares.get(term, [])
        return mean(share for update, share in noted if update >= noted[-1][0] / 2) if noted else None

    def state_dict(self) -> dict[str, Any]:
        """Return shares and figures, for a checkpoint."""
        return {"shares": {term: list(noted) for term, noted in self._shares.items()}, "figures": self.figures}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from shares and figures of a checkpoint; one without them leaves nothing to say of the game."""
        self._shares = {term: [*map(tuple, noted)] for term, noted in state.get("shares", {}).items()}
        self.figures = dict(state.get("figures", {}))
