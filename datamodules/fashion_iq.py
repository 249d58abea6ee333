"""FashionIQ (Wu et al., CVPR 2021, arXiv 1905.12794): garments, and what people say distinguishes one from another."""

from typing import Any, Literal

import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_compositions import ComposedListing, ListedCompositions, Query
from datamodules.reading.committed_splits import held_out
from datamodules.reading.published_files import find, read_json

_FACTS = Facts(
    name="fashion_iq",
    title="FashionIQ (Wu et al., CVPR 2021): 24,016 pairs of garments with two relative captions each",
    level="composed",
    terms="Captions and lists are in a public repository, whose licence the user accepts; the pictures are those of a "
    "shop, to which they belong. Never fetched.",
    origins=(
        Origin(
            ("captions", "image_splits"),
            "copy the folders captions and image_splits of the repository XiaoxiaoGuo/fashion-iq",
        ),
        Origin(
            ("images",),
            "download the pictures from the addresses that the repository XiaoxiaoGuo/fashion-iq-metadata lists, or "
            "from where others keep them, as many are gone, and put them, as images/<picture>.jpg or .png,",
        ),
    ),
    counts={"train": Counts(23_536, 16_186), "val": Counts(3460, 1814), "test": Counts(15_536, 6016)},
    remark="the published validation part is the test part, a tenth of the training targets is held out",
)
_SOURCE = _FACTS.source("captions")
CATEGORIES = ("dress", "shirt", "toptee")


class FashionIQ(ListedCompositions):
    """FashionIQ: which garment is the one that two sentences describe relative to another.

        <root>/captions/cap.<category>.{train,val}.json        [{"candidate", "target", "captions": [two]}, ...]
        <root>/image_splits/split.<category>.{train,val}.json  [picture, ...]
        <root>/images/<picture>.jpg                            or .png

    A query is a candidate with both of its captions, joined by `and`; an empty one is left out. Only the very target is
    right. Each category is a fold: a query searches the pictures of its own category, and the metric is the mean over
    the three. The usual single figure is the mean of recall@10 and recall@50.

    The targets of the published test part are not public, so tables report the published validation part: it is our
    test part, with all pictures of its split. The training queries of a tenth of the targets, chosen by `held_out`, are
    held out for validation, with their own pictures as gallery; these may occur in other training queries.

    Source, terms, counts and known faults: `datamodules/cards/fashion_iq.md`. The arguments are those of
    `ListedCompositions`.
    """

    facts = _FACTS
    classes = CATEGORIES
    protocols = tuple(Protocol("recall", "target", k=k, folds=len(CATEGORIES)) for k in (10, 50, 1, 5, 100))
    split_name = "published validation as test, a tenth of the training targets held out"

    def list_part(self, part: PartName) -> ComposedListing:
        """List one part by category; a picture that is in two categories is in both galleries."""
        pictures: list[str] = []
        fold: list[int] = []
        queries: list[Query] = []
        for number, category in enumerate(CATEGORIES):
            published: Literal["train", "val"] = "val" if part == "test" else "train"
            triplets = [
                triplet
                for triplet in self._triplets(category, published)
                if part == "test" or held_out(triplet["target"]) == (part == "val")
            ]
            names = self._gallery(category) if part == "test" else sorted(_shown(triplets))
            rows = {name: len(pictures) + row for row, name in enumerate(names)}
            queries += [Query(rows[t["candidate"]], relative_text(t["captions"]), rows[t["target"]]) for t in triplets]
            pictures += [self._file(name) for name in names]
            fold += [number] * len(names)
        of_category = torch.tensor(fold)
        return ComposedListing.make(pictures, of_category, queries, fold=of_category)

    def _triplets(self, category: str, part: Literal["train", "val"]) -> list[dict[str, Any]]:
        """Read the queries of a category as published."""
        path = find(self.root, f"captions/cap.{category}.{part}.json", _SOURCE)
        triplets = read_json(path, list, _SOURCE)
        for number, triplet in enumerate(triplets):
            if not _is_triplet(triplet):
                raise UserError(
                    f"{path}, entry {number}, counted from 0, should have a candidate, a target and captions that are "
                    f"not all empty; {_SOURCE}."
                )
        if part == "val" and (strangers := _shown(triplets) - set(self._gallery(category))):
            raise UserError(f"{path} names {min(strangers)}, which image_splits does not list; {_SOURCE}.")
        return triplets

    def _gallery(self, category: str) -> list[str]:
        path = find(self.root, f"image_splits/split.{category}.val.json", _SOURCE)
        names = read_json(path, list, _SOURCE)
        if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise UserError(f"{path} should list names of pictures, each of them once; {_SOURCE}.")
        return names

    def _file(self, name: str) -> str:
        png = f"images/{name}.png"
        return png if (self.root / png).is_file() else f"images/{name}.jpg"


def relative_text(captions: list[str]) -> str:
    """Join both captions to one text; an empty one is left out.

    Examples:
        >>> relative_text([" is red", "has dots "])
        'is red and has dots'
    """
    return " and ".join(caption.strip() for caption in captions if caption.strip())


def _shown(triplets: list[dict[str, Any]]) -> set[str]:
    """Return the names of candidates and targets."""
    return {triplet[key] for triplet in triplets for key in ("candidate", "target")}


def _is_triplet(entry: Any) -> bool:
    if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in ("candidate", "target")):
        return False
    captions = entry.get("captions")
    return isinstance(captions, list) and all(isinstance(c, str) for c in captions) and bool(relative_text(captions))
