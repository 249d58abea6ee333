"""Composed data sets that are lists of picture files with texts that say what to change."""

import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.ranges import Name
from datamodules.base import PartName
from datamodules.families.composed_data import ComposedData, ComposedPart
from datamodules.families.listed_data import ListedData, check_captions
from datamodules.inputs.image_inputs import ImageInput
from datamodules.inputs.stored_features import StoredTexts
from datamodules.inputs.text_inputs import TextInput
from datamodules.reading.listing import Listing, renumbered


class Query(NamedTuple):
    """A composed query: the row of the picture that it starts from, what to change, and a picture that it asks for."""

    source: int
    text: str
    target: int


@dataclass(frozen=True, kw_only=True)
class ComposedListing(Listing):
    """One part of a composed data set as its files say it.

    The P `captions` say what to change, and `owner` where their queries start; the rest is as in `ComposedPart`.
    """

    target: Tensor
    keys: Mapping[str, Tensor] = field(default_factory=dict)
    fold: Tensor | None = None

    @classmethod
    def make(
        cls,
        pictures: Sequence[str],
        label: Tensor,
        queries: Sequence[Query],
        keys: Mapping[str, Sequence[object]] | None = None,
        fold: Tensor | None = None,
    ) -> Self:
        """List pictures with their queries.

        Args:
            pictures: As in `Listing`.
            label: As in `Listing`.
            queries: The queries.
            keys: For each relevance what the pictures are known by, such as their captions; equal ones get one number.
            fold: As in `ComposedPart`.

        Examples:
            >>> queries = [Query(source=0, text="make it red", target=1)]
            >>> listing = ComposedListing.make(["a", "b", "c"], torch.zeros(3), queries, {"caption": ["x", "y", "y"]})
            >>> listing.target, listing.keys
            (tensor([1]), {'caption': tensor([0, 1, 1])})
        """
        numbered = {name: torch.tensor(_numbers(values)) for name, values in (keys or {}).items()}
        none = torch.zeros(0, dtype=torch.int64)
        return cls(tuple(pictures), label, (), none, target=none, keys=numbered, fold=fold).asking(queries)

    def asking(self, queries: Sequence[Query]) -> Self:
        """Return the same pictures with other queries.

        Examples:
            >>> listing = ComposedListing.make(["a", "b"], torch.zeros(2), [])
            >>> listing.asking([Query(1, "make it red", 0)]).captions
            ('make it red',)
        """
        return replace(
            self,
            captions=tuple(query.text for query in queries),
            owner=torch.tensor([query.source for query in queries], dtype=torch.int64),
            target=torch.tensor([query.target for query in queries], dtype=torch.int64),
        )

    def of(self, keep: Tensor) -> Self:
        """Keep the pictures where `keep` `(M,)` bool is true, with the queries from one of them for another."""
        kept = keep[self.owner] & keep[self.target]
        keys = {name: values[keep] for name, values in self.keys.items()}
        fold = None if self.fold is None else self.fold[keep]
        return self._of(keep, kept, target=renumbered(keep)[self.target[kept]], keys=keys, fold=fold)


class ListedCompositions(ListedData, ComposedData):
    """A composed data set that a subclass lists; the config chooses the input of the encoders.

    A subclass lists the pictures and queries of a part in `list_part`. Where training queries are drawn in each epoch,
    it overrides `draw`, and lists as many as an epoch has.

    Pictures that are left out take the queries with them that start from them or ask for them.

    Args:
        root: Folder of the published files.
        image: Input of the image encoders; by default the pictures.
        text: Input of the text encoders; by default all words.
        **kwargs: Options of `CrossModalData`.
    """

    def __init__(
        self, root: Name, image: ImageInput | None = None, text: TextInput | None = None, **kwargs: Any
    ) -> None:
        super().__init__(root, image, text, **kwargs)
        if isinstance(text, StoredTexts) and type(self).draw is not ListedCompositions.draw:
            raise UserError(
                f"{type(self).__name__} draws new texts in each epoch, which no feature store holds; set data.text "
                f"to WordTokens, or to SubwordTokens for a pretrained encoder."
            )

    @abstractmethod
    def list_part(self, part: PartName) -> ComposedListing:
        """List one part from the published files; see `ListedData.list_part`."""

    def draw(self, listing: ComposedListing, count: int, chance: random.Random) -> list[Query] | None:
        """Draw `count` training queries for an epoch; None, the default, stands for those that are listed."""
        return None

    def listing(self, part: PartName) -> ComposedListing:
        """List one part without the pictures that are left out."""
        listing = super().listing(part)
        if not isinstance(listing, ComposedListing):
            raise TypeError(f"{type(self).__name__} lists a {type(listing).__name__}, which has no composed queries")
        if not listing.captions:
            raise UserError(f"{type(self).__name__}: no {part} query is left whose two pictures are there.")
        return listing

    def check_listing(self, listing: Listing, what: str) -> None:
        """Refuse texts without words; pictures need no query, as they can be found."""
        if self.text.reads_captions:
            check_captions(listing, what)

    def read(self, part: PartName) -> ComposedPart:
        """Read one part as encoders take it."""
        listing, read = self.listing(part), super().read(part)
        return ComposedPart(**vars(read), target=listing.target, keys=listing.keys, fold=listing.fold)

    def epoch(self, generator: torch.Generator) -> ComposedPart:
        """Return the training part with the queries of one epoch."""
        part, listing = self.part("train"), self.listing("train")
        chance = random.Random(int(torch.randint(2**62, (), generator=generator)))
        queries = self.draw(listing, part.num_texts, chance)
        if queries is None:
            return part
        drawn = listing.asking(queries)
        return replace(
            part, text=self.text.content(drawn), captions=drawn.captions, owner=drawn.owner, target=drawn.target
        )


def _numbers(values: Sequence[object]) -> list[int]:
    """Give each value a number, equal ones the same, in the order in which they come."""
    numbers: dict[object, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]
