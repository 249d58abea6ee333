import re
from dataclasses import replace
from typing import get_args

import pytest

from cmr_lightning.evaluation.game_state import (
    ACTS,
    DEVIATIONS,
    IDLE_SHARE,
    MEANINGS,
    OVERRUN_KNOWLEDGE,
    PROBE_LEAD,
    SATURATED_ACCURACY,
    Figures,
    State,
    null_deviation,
    state_of,
)
from tests.building import ROOT

PLAYING = Figures(share=0.2, accuracy=0.62, probe=0.65, items=200, mode="flipped")
MARGIN = 2 * null_deviation(200)


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"share": None}, "none"),
        ({"accuracy": None}, "none"),
        ({"probe": None}, "none"),
        ({"share": 0.0099}, "idle"),
        ({"share": 0.0099, "accuracy": 0.0, "probe": 1.0}, "idle"),  # the first that fits
        ({"share": 0.01}, "neutral"),
        ({"accuracy": 0.5, "probe": 0.61}, "untrained"),
        ({"accuracy": 0.5, "probe": 1.0}, "untrained"),  # before overrun
        ({"accuracy": 0.5, "probe": 0.59}, "neutral"),
        ({"accuracy": 0.501 - MARGIN, "probe": 0.7}, "untrained"),
        ({"accuracy": 0.499 - MARGIN, "probe": 0.5}, "overrun"),
        ({"accuracy": 0.0, "probe": 1.0}, "overrun"),
        ({"accuracy": 0.66, "probe": 0.99}, "overrun"),  # it knows 0.16 of 0.49 beyond chance
        ({"accuracy": 0.67, "probe": 0.99}, "neutral"),
        ({"accuracy": 0.56, "probe": 0.65, "items": 10_000}, "neutral"),  # a lead that is no lead
        ({"accuracy": 0.96, "probe": 1.0}, "neutral"),
        # of four angles chance is 1/4
        ({"views": 4, "accuracy": 0.26, "probe": 0.37}, "untrained"),
        ({"views": 4, "accuracy": 0.5, "probe": 0.55}, "neutral"),
        ({"views": 4, "accuracy": 0.1, "probe": 0.15}, "overrun"),
    ],
)
def test_first_state_that_fits(changes: dict[str, float | None], state: State) -> None:
    assert state_of(replace(PLAYING, **changes)) == state  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("mode", "state"), [("reversal", "saturated"), ("entropy", "saturated"), ("flipped", "neutral"), (None, "neutral")]
)
def test_a_sure_discriminator_passes_no_gradient_on_in_two_modes(mode: str | None, state: State) -> None:
    sure = replace(PLAYING, accuracy=0.951, probe=0.9, mode=mode)
    assert state_of(sure) == state
    assert state_of(replace(sure, accuracy=0.949)) == "neutral"


def test_what_an_adversary_does_is_told_by_its_twin() -> None:
    def against(difference: float) -> State:
        return state_of(PLAYING, twin_probe=0.65 - difference)

    assert [against(MARGIN + 0.001), against(MARGIN - 0.001)] == ["circling", "neutral"]
    assert [against(0.001 - MARGIN), against(-0.001 - MARGIN)] == ["neutral", "closing"]
    assert state_of(PLAYING) == "neutral"
    assert state_of(replace(PLAYING, accuracy=0.0), twin_probe=0.9) == "overrun"  # nothing is said of a beaten one


def test_words_are_explained_in_the_order_in_which_they_are_tried() -> None:
    assert tuple(MEANINGS) == get_args(State)
    assert tuple(MEANINGS)[-3:] == ACTS


def test_the_readme_states_the_words_and_their_limits() -> None:
    section = (ROOT / "README.md").read_text().partition("## Does the adversary act?")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\S+) \| (.*?) \|", section, flags=re.MULTILINE))
    assert [*rows] == ["game", *("`–`" if state == "none" else state for state in MEANINGS)]
    limits = {
        "idle": f"share below {IDLE_SHARE}",
        "untrained": f"probe {PROBE_LEAD} better",
        "overrun": f"probe {PROBE_LEAD} better, and over {1 / OVERRUN_KNOWLEDGE:g} times as far above chance",
        "saturated": f"accuracy above {SATURATED_ACCURACY}",
    }
    assert not [state for state, limit in limits.items() if limit not in rows[state]]
    assert f"{DEVIATIONS * null_deviation(1):.1f} / √n" in section
