"""Pressed plants with a line about each: a data set as a user writes it, outside this repository."""

import csv
from functools import cached_property
from pathlib import Path

import torch

from cmr_lightning.evaluation import INSTANCE_LEVEL
from datamodules.base import PartName
from datamodules.facts import Counts, Facts, Origin
from datamodules.families.listed_data import ListedData
from datamodules.reading.committed_splits import read_split
from datamodules.reading.listing import Listing, no_labels
from datamodules.reading.published_files import find

_FACTS = Facts(
    name="herbarium",
    title="Herbarium: 24 invented sheets",
    level="instance",
    terms="None: the sheets are invented.",
    origins=(Origin(("labels.csv", "sheets"), "copy labels.csv and the folder sheets"),),
    counts={"train": Counts(16, 16), "val": Counts(4, 4), "test": Counts(4, 4)},
)


class Herbarium(ListedData):
    """Sheets of a herbarium: which line is written on which sheet.

        <root>/labels.csv           sheet,label
        <root>/sheets/<sheet>.png

    Source, terms and counts: `cards/herbarium.md`.
    """

    facts = _FACTS
    classes = ("plant",)
    protocols = INSTANCE_LEVEL
    split_name = "by sheet"

    def list_part(self, part: PartName) -> Listing:
        """List the sheets that the committed split names."""
        sheets = read_split("herbarium", Path(__file__).parent / "splits")[part]
        return Listing(
            pictures=tuple(f"sheets/{sheet}.png" for sheet in sheets),
            label=no_labels(len(sheets)),
            captions=tuple(self._labels[sheet] for sheet in sheets),
            owner=torch.arange(len(sheets)),
        )

    @cached_property
    def _labels(self) -> dict[str, str]:
        path = find(self.root, "labels.csv", self.facts.source("labels.csv"))
        with path.open(newline="", encoding="utf-8") as file:
            return {row["sheet"]: row["label"] for row in csv.DictReader(file)}
