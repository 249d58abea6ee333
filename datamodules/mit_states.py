"""MIT-States (Isola, Lim, Adelson, CVPR 2015): pictures of nouns in different states, named by adjectives."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from itertools import cycle
from pathlib import PurePosixPath
from typing import NamedTuple

import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import COMPOSED_CAPTION, Protocol
from datamodules.base import PartName
from datamodules.facts import Facts, Origin
from datamodules.families.listed_compositions import ComposedListing, ListedCompositions, Query
from datamodules.reading.committed_splits import held_out
from datamodules.reading.listing import Listing

_FACTS = Facts(
    name="mit_states",
    title="MIT-States (Isola, Lim, Adelson, CVPR 2015): about 53,000 pictures of 245 nouns in 115 states",
    level="composed",
    terms="The page states no licence that we know of; the pictures were found by a search engine.",
    origins=(
        Origin(
            ("images",),
            "unpack release_dataset.zip of MIT-States (web.mit.edu/phillipi/Public/states_and_transformations)",
            file="release_dataset.zip",
            # in the folder that public loaders name; its checksum is unknown
            url="http://wednesday.csail.mit.edu/joseph_result/state_and_transformation/release_dataset.zip",
        ),
    ),
    remark="the 49 test nouns of TIRG, a tenth of the other nouns held out for validation",
)
_SOURCE = _FACTS.source("images")
TEST_NOUNS = (
    *("armor", "bracelet", "bush", "camera", "candy", "castle", "ceramic", "cheese", "clock", "clothes"),
    *("coffee", "fan", "fig", "fish", "foam", "forest", "fruit", "furniture", "garden", "gate"),
    *("glass", "horse", "island", "laptop", "lead", "lightning", "mirror", "orange", "paint", "persimmon"),
    *("plastic", "plate", "potato", "road", "rubber", "sand", "shell", "sky", "smoke", "steel"),
    *("stream", "table", "tea", "tomato", "vacuum", "wax", "wheel", "window", "wool"),
)
"""The nouns of the test part (code of TIRG)."""


class MITStates(ListedCompositions):
    """MIT-States: which picture shows the same thing in the state that an adjective names.

        <root>/images/<adjective> <noun>/<file>.jpg

    Queries are those of TIRG (Vo et al., CVPR 2019, arXiv 1812.07119). The text is the adjective of the target alone.
    In an epoch a random half of the training pictures ask twice, for two different adjectives of their noun, which
    may be their own. In validation and test every picture asks for every other adjective of its noun. A picture is
    right if it has the noun and the adjective; what shows the adjective, or the noun, is measured as well.

    Parts have different nouns: 49 for test as in TIRG, a tenth of the others for validation by `held_out`. The classes
    are the nouns. Folders without an adjective, and those called `adj <noun>`, show no state and are skipped.

    Source, terms, counts and known faults: `datamodules/cards/mit_states.md`. The arguments are those of
    `ListedCompositions`.
    """

    facts = _FACTS
    protocols = (
        *COMPOSED_CAPTION,
        *(Protocol("recall", kind, k=k) for kind in ("adjective", "noun") for k in (1, 5, 10)),
    )
    split_name = "49 test nouns of TIRG, a tenth of the other nouns held out"

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # the folders say them
        """All nouns, of all parts."""
        return tuple(sorted({state.noun for states in self._by_part.values() for state in states}))

    def list_part(self, part: PartName) -> ComposedListing:
        """List one part, pictures in the order of their names."""
        states = self._by_part[part]
        if not states:
            raise UserError(f"{self.root / 'images'} holds no pictures of {part} nouns; {_SOURCE}.")
        listing = ComposedListing.make(
            pictures=[state.picture for state in states],
            label=torch.tensor([self.classes.index(state.noun) for state in states]),
            queries=[],
            keys={
                "caption": [(state.adjective, state.noun) for state in states],
                "adjective": [state.adjective for state in states],
                "noun": [state.noun for state in states],
            },
        )
        if part == "train":
            return listing.asking(self.draw(listing, len(states), random.Random(0)))
        return listing.asking(list(every_other_state(states)))

    def draw(self, listing: ComposedListing, count: int, chance: random.Random) -> list[Query]:
        """Draw two queries from each picture in a random order, until there are enough."""
        states = [state_of(picture) for picture in listing.pictures]
        shown = _shown(states)
        able = [row for row, state in enumerate(states) if len(shown[state.noun]) > 1]
        if not able:
            raise UserError("MIT-States: no training noun has two adjectives, so there is nothing to ask for.")
        chance.shuffle(able)
        queries: list[Query] = []
        rows = cycle(able)
        while len(queries) < count:
            row = next(rows)
            queries += _two_states(row, shown[states[row].noun], chance)
        return queries[:count]

    @property
    def lesson(self) -> Listing:
        """Each adjective of the training part once."""
        listing = self.listing("train")
        texts = tuple(sorted({state_of(picture).adjective for picture in listing.pictures}))
        return Listing(listing.pictures, listing.label, texts, torch.zeros(len(texts), dtype=torch.int64))

    @cached_property
    def _by_part(self) -> dict[PartName, list[State]]:
        folder = self.root / "images"
        if not folder.is_dir():
            raise UserError(f"{folder} does not exist; {_SOURCE}.")
        by_part: dict[PartName, list[State]] = {"train": [], "val": [], "test": []}
        for path in sorted(folder.glob("*/*.jpg")):
            words = path.parent.name.split()
            if len(words) == 2 and words[0] != "adj":
                state = state_of(path.relative_to(self.root).as_posix())
                by_part[part_of(state.noun)].append(state)
        return by_part


class State(NamedTuple):
    """A picture, relative to the root, with the state and the thing that its folder names."""

    picture: str
    adjective: str
    noun: str


def state_of(picture: str) -> State:
    """Return what the folder of a picture says.

    Examples:
        >>> state_of("images/ripe apple/1.jpg").adjective
        'ripe'
    """
    adjective, noun = PurePosixPath(picture).parent.name.split()
    return State(picture, adjective, noun)


def part_of(noun: str) -> PartName:
    """Return the part that a noun is in."""
    if noun in TEST_NOUNS:
        return "test"
    return "val" if held_out(noun) else "train"


def every_other_state(states: Sequence[State]) -> list[Query]:
    """Return queries from every picture for every other adjective of its noun, in alphabetical order."""
    shown = _shown(states)
    return [
        Query(row, adjective, pictures[0])
        for row, state in enumerate(states)
        for adjective, pictures in sorted(shown[state.noun].items())
        if adjective != state.adjective
    ]


def _two_states(row: int, shown: dict[str, list[int]], chance: random.Random) -> list[Query]:
    """Draw queries from a picture for two adjectives of its noun, with a random target each but the source itself."""
    others = [adjective for adjective, rows in shown.items() if rows != [row]]
    chosen = chance.sample(others, min(2, len(others)))
    return [Query(row, a, chance.choice([other for other in shown[a] if other != row])) for a in chosen]


def _shown(states: Sequence[State]) -> dict[str, dict[str, list[int]]]:
    """Return the rows of the pictures of each noun by their adjectives."""
    shown: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for row, state in enumerate(states):
        shown[state.noun][state.adjective].append(row)
    return shown
