"""Whether an adversary acts: one word for what its figures show.

A term in the loss is no proof of a game. An adversary may weigh nothing, may never have learned, may be beaten at every
step or so sure that it passes no gradient on. `state_of` says which, from figures on items that trained nobody.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

State = Literal["none", "idle", "untrained", "overrun", "saturated", "circling", "closing", "neutral"]

ACTS: tuple[State, ...] = ("circling", "closing", "neutral")
"""States of an adversary that acts; of the others nothing can be said but that it does not."""

MEANINGS: dict[State, str] = {
    "none": "no adversary, or one without weight",
    "idle": "too small a share of the gradient to change anything",
    "untrained": "the discriminator knows less than a fresh probe",
    "overrun": "the encoders are ahead of the discriminator",
    "saturated": "the discriminator is so sure that it passes no gradient on",
    "circling": "it acts, and the modalities are farther apart than without it",
    "closing": "it acts, and they are nearer",
    "neutral": "it acts, and no difference shows",
}

IDLE_SHARE = 0.01
"""Share of the gradient below which an adversary is idle: those that changed nothing had up to .009, and at .028 a term
moved the probe by .10 (measured)."""

PROBE_LEAD = 0.1
"""Accuracy by which a probe must be ahead of a discriminator to show that there was more to learn (choice)."""

OVERRUN_KNOWLEDGE = 1 / 3
"""A discriminator that knows less than this part of what the probe knows beyond chance is overrun, if the probe has its
lead. On Wikipedia and Pascal Sentence 33 runs were below it: compared with their twins without the adversary, 4 ended
with the centroids nearer and 20 with them farther apart. Of 82 runs above it, 50 ended nearer and 19 farther apart. It
was chosen on seed 0; with other seeds, 1 of 11 runs below it ended nearer and 6 farther apart, and of 28 above it 18
nearer and 5 farther apart (measured)."""

SATURATED_ACCURACY = 0.95
"""Accuracy above which the gradients of `reversal` and `entropy` are near 0 on almost all items (choice)."""

DEVIATIONS = 2
"""Null deviations by which two accuracies must differ to count as different: the 95 % interval of a normal law."""

_VANISHING = ("reversal", "entropy")


@dataclass(frozen=True)
class Figures:
    """What is known of a game, from items that trained nobody.

    Attributes:
        share: The adversary's share of the generator's gradient, 0 to 1; None where it has no weight.
        accuracy: Share of points that the discriminator tells, 0 to 1; None without one. A critic's threshold lies
            half-way between its mean scores.
        probe: Share of points that a fresh probe tells.
        items: Items that both were asked for.
        views: Number of answers to choose from: 2 modalities, or 4 angles.
        mode: What the generator minimises against a classifier, see `AdversarialMode`; None against a critic.
    """

    share: float | None
    accuracy: float | None
    probe: float | None
    items: int
    views: int = 2
    mode: str | None = None


def state_of(figures: Figures, twin_probe: float | None = None) -> State:
    """Return the first state of the list that fits, in the order in which they are listed.

    Args:
        figures: What was measured.
        twin_probe: Accuracy of the probe in the run's twin, of the same experiment, seed and split but with a weight of
            0 for the adversary. Without it, `circling` and `closing` cannot be told: an adversary that acts is then
            `neutral`.

    Examples:
        >>> figures = Figures(share=0.2, accuracy=0.6, probe=0.65, items=500)
        >>> state_of(figures), state_of(figures, twin_probe=0.75), state_of(figures, twin_probe=0.58)
        ('neutral', 'closing', 'circling')
    """
    share, accuracy, probe = figures.share, figures.accuracy, figures.probe
    if share is None or accuracy is None or probe is None:
        return "none"
    chance, margin = 1 / figures.views, DEVIATIONS * null_deviation(figures.items, figures.views)
    if share < IDLE_SHARE:
        return "idle"
    if abs(accuracy - chance) <= margin and probe > accuracy + PROBE_LEAD:
        return "untrained"
    behind = probe > accuracy + PROBE_LEAD and accuracy - chance < OVERRUN_KNOWLEDGE * (probe - chance)
    if accuracy < chance - margin or behind:
        return "overrun"
    if accuracy > SATURATED_ACCURACY and figures.mode in _VANISHING:
        return "saturated"
    if twin_probe is not None and abs(probe - twin_probe) > margin:
        return "circling" if probe > twin_probe else "closing"
    return "neutral"


def figures_of(game: Mapping[str, Any], term: str = "alignment") -> Figures:
    """Read the figures of one adversary from `Record.game`: that of the alignment, or one by its term's name.

    Examples:
        >>> figures_of({"items": 9, "rotation_views": 4, "rotation_share": 0.1, "rotation_accuracy": 0.5}, "rotation")
        Figures(share=0.1, accuracy=0.5, probe=None, items=9, views=4, mode=None)
    """
    items = game.get("items") or 0
    if term == "alignment":
        share, accuracy = game.get("gradient_share"), game.get("discriminator_accuracy")
        return Figures(share, accuracy, game.get("probe_accuracy"), items, mode=game.get("mode"))
    share, accuracy, probe, mode = (
        game.get(f"{term}_{key}") for key in ("share", "accuracy", "probe_accuracy", "mode")
    )
    return Figures(share, accuracy, probe, items, game.get(f"{term}_views", 2), mode)


def null_deviation(items: int, views: int = 2) -> float:
    """Return the standard deviation of a probe's accuracy where there is nothing to tell, for independent views.

    It is 1.27 times that of as many independent answers, because the answers of a fold share a classifier: measured at
    50 to 1,000 items, two views, 16 to 256 dimensions, as .45 / √n. Where views of an item are alike it is smaller,
    half of this at a correlation of 0.9, so that it errs to the side of seeing nothing.

    Examples:
        >>> [round(null_deviation(n), 3) for n in (50, 100, 200, 500)]
        [0.064, 0.045, 0.032, 0.02]
    """
    chance = 1 / views
    return 1.27 * math.sqrt(chance * (1 - chance) / (items * views))
