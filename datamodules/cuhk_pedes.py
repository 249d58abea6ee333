"""CUHK-PEDES (Li et al., CVPR 2017, arXiv 1702.05729): 40,206 pictures of 13,003 persons, about two sentences each."""

from functools import cached_property
from typing import Any

import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import Protocol
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_data import PARTS, ListedData
from datamodules.reading.listing import Listing
from datamodules.reading.loaders import Part
from datamodules.reading.published_files import find, read_json

_LIST = "reid_raw.json"
_FOLDERS = ("CUHK01", "CUHK03", "Market", "cam_a", "cam_b", "test_query", "train_query")
_FACTS = Facts(
    name="cuhk_pedes",
    title="CUHK-PEDES (Li et al., CVPR 2017): 40,206 pictures of 13,003 people",
    level="person",
    terms="Academic use only, given on request from a university address. Never fetched.",
    origins=(
        Origin(
            (_LIST, *(f"imgs/{name}" for name in _FOLDERS)),
            "request the data set from its authors from a university address, as the page of "
            "ShuangLI59/Person-Search-with-Natural-Language-Description says, and put its list and pictures",
        ),
    ),
    counts={"train": Counts(34_054, 68_126, 11_003), "val": Counts(3078, 6158, 1000), "test": Counts(3074, 6156, 1000)},
)
_SOURCE = _FACTS.source(_LIST)
_KEYS = {"split": str, "captions": list, "file_path": str, "id": int}


class CUHKPEDES(ListedData):
    """CUHK-PEDES: which pictures show the person that a sentence describes.

        <root>/reid_raw.json                 [{"split", "captions", "file_path", "processed_tokens", "id"}, ...]
        <root>/imgs/<file_path>

    A sentence is relevant to every picture of its person, so the label is the person. Persons of different parts are
    different people; each part numbers its own from 0, in the order of their ids.

    Tables of this data set report t2i alone, as recall@1, 5 and 10. The main protocol is recall@1, by which they are
    sorted; what chooses the checkpoint is its mean over both directions.

    Source, terms, counts and known faults: `datamodules/cards/cuhk_pedes.md`.
    """

    facts = _FACTS
    protocols = (*(Protocol("recall", "label", k=k) for k in (1, 5, 10)), Protocol("map", "label"))
    split_name = "official by person"

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]  # the file says who is in the training part
        """Numbers of the training persons; other parts have other persons under the same numbers."""
        return tuple(f"person {number}" for number in range(len(self._persons("train"))))

    def list_part(self, part: PartName) -> Listing:
        """List one part, pictures in the order of the list."""
        pictures = self._pictures[part]
        rows = {person: row for row, person in enumerate(self._persons(part))}
        captions = [(row, caption) for row, picture in enumerate(pictures) for caption in picture["captions"]]
        return Listing(
            pictures=tuple(f"imgs/{picture['file_path']}" for picture in pictures),
            label=torch.tensor([rows[picture["id"]] for picture in pictures]),
            captions=tuple(" ".join(caption.split()) for _, caption in captions),
            owner=torch.tensor([row for row, _ in captions]),
        )

    def _check(self, name: PartName, part: Part) -> None:
        """Require two persons of a part; it has persons of its own, not every training class as elsewhere."""
        if len(part.label.unique()) < 2:
            raise UserError(f"CUHK-PEDES: all {name} pictures show the same person, so there is nothing to find.")

    def _persons(self, part: PartName) -> list[int]:
        """Return the ids of the persons of a part, in rising order."""
        return sorted({picture["id"] for picture in self._pictures[part]})

    @cached_property
    def _pictures(self) -> dict[PartName, list[dict[str, Any]]]:
        """The records of each part, in the order of the list."""
        path = find(self.root, _LIST, _SOURCE)
        parts: dict[PartName, list[dict[str, Any]]] = {part: [] for part in PARTS}
        for number, record in enumerate(read_json(path, list, _SOURCE)):
            if not _is_record(record) or record["split"] not in parts:
                raise UserError(
                    f"{path}: entry {number}, counted from 0, should have {', '.join(_KEYS)} of one picture, the split "
                    f"being train, val or test; {_SOURCE}."
                )
            parts[record["split"]].append(record)
        return parts


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in _KEYS.items())
