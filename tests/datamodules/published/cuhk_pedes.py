"""CUHK-PEDES in miniature: the published list with its oddities, invented persons, sentences and pictures."""

import json
from functools import partial
from pathlib import Path

import numpy as np

from datamodules.cuhk_pedes import CUHKPEDES
from tests.datamodules.published.invention import SMALL, Expected, sentences, write_picture

load = partial(CUHKPEDES, image=SMALL)
TINY = {"batch_size": 8, "eval_batch_size": 16}
SPLITS = [Expected({}, "official by person", "cf06081af2d3cc2e", (48, 18, 18))]

PERSONS = {"train": 16, "val": 6, "test": 6}
"""Persons of each part, with three pictures each; their ids count from 1, through all parts."""
CAPTIONS = {0: 3, 10: 4, 20: 1}
"""Pictures with another number of sentences than two, by their place in the list."""


def write(root: Path) -> None:
    """Write CUHK-PEDES: the list and all pictures."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    records = []
    first = 1
    for split, persons in PERSONS.items():
        for person in rng.permutation(np.repeat(np.arange(first, first + persons), 3)).tolist():
            number = len(records)
            folder, ending = ("CUHK01", "png") if number % 2 else ("cam_a", "jpg")
            captions = sentences(f"coat{person}", CAPTIONS.get(number, 2), rng)
            records.append(
                {
                    "split": split,
                    "captions": captions,
                    "file_path": f"{folder}/{number:07d}.{ending}",
                    "processed_tokens": [caption.lower().rstrip(".").split() for caption in captions],
                    "id": person,
                }
            )
            write_picture(root / "imgs" / records[-1]["file_path"], person)
        first += persons
    (root / "reid_raw.json").write_text(json.dumps(records))
