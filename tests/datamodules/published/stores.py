"""Feature stores in miniature: what `extract` would make of the invented data sets, with invented features.

There is a store for each file of `experiments/features`, so every experiment that names a store finds it.
"""

from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from cmr_lightning.store import Dtype, Manifest, Rows, StoreWriter, image_check
from datamodules.cuhk_pedes import CUHKPEDES
from datamodules.families.listed_data import PARTS, ListedData
from datamodules.flickr import Flickr8k, Flickr30k
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens
from datamodules.mscoco import MSCOCO
from datamodules.nus_wide import NUSWIDE
from datamodules.pascal_sentence import PascalSentence
from datamodules.reading.listing import Listing
from datamodules.wikipedia import Wikipedia

CONFIGS = sorted((Path(__file__).parents[3] / "experiments/features").glob("*.yaml"))
"""Settings of `extract`, `<dataset>_<store>.yaml`."""
_CLASSES = (CUHKPEDES, Flickr8k, Flickr30k, MSCOCO, NUSWIDE, PascalSentence, Wikipedia)
_SIZE = 128
_TURNS = 4


def write_stores(root: Path) -> None:
    """Write the stores of all data sets, which are in folders of their names."""
    for dataset, configs in groupby(map(read_config, CONFIGS), lambda config: config["data"]["init_args"]["root"]):
        folder, settings = root / Path(dataset).name, list(configs)
        listings = _listings(folder, settings[0]["data"]["class_path"])
        for config in settings:
            for modality in ("image", "text"):
                if modality in config:
                    turns = _TURNS if config.get("rotations") else 1
                    _write(folder, folder / "features" / config["name"] / modality, listings, modality, turns)


def read_config(path: Path) -> dict[str, Any]:
    """Settings of `extract` as plain values."""
    return yaml.safe_load(path.read_text())


def _listings(folder: Path, name: str) -> list[Listing]:
    kind: Any = next(kind for kind in _CLASSES if kind.__name__ == name)
    data: ListedData = kind(str(folder), image=Pictures(), text=WordTokens())
    return [data.list_part(part) for part in PARTS]


def _write(root: Path, folder: Path, listings: list[Listing], modality: str, turns: int) -> None:
    """Write a store whose features carry the class, or where there is one class only the picture."""
    kind: dict[str, int] = {}
    check: dict[str, str] = {}
    for listing in listings:
        number = listing.label if listing.label.any() else torch.arange(len(listing.pictures)) + len(kind)
        if modality == "image":
            kind |= dict(zip(listing.pictures, number.tolist(), strict=True))
            check |= {name: image_check(root / name) for name in listing.pictures if (root / name).is_file()}
        else:
            kind |= dict(zip(listing.captions, number[listing.owner].tolist(), strict=True))
    names = sorted(kind)
    rows = Rows(names, [check.get(name, "0") for name in names] if modality == "image" else ())
    rng = np.random.default_rng(0)
    numbers = np.array([kind[name] for name in names])
    prototype = rng.normal(0, 1.0, (numbers.max() + 1, _SIZE))
    angle = rng.normal(0, 1.0, (turns, _SIZE))
    features = prototype[numbers][:, None] + angle + rng.normal(0, 1.0, (len(names), turns, _SIZE))
    content = torch.from_numpy(features if turns > 1 else features[:, 0])
    write_store(folder, rows, content, "float16")


def write_store(folder: Path, rows: Rows, features: Tensor, dtype: Dtype) -> None:
    manifest = Manifest("invented", "0" * 16, "none", "32", rows.checksum(), dtype, tuple(features.shape))
    with StoreWriter(folder, rows, manifest) as writer:
        for claimed in writer.claims():
            writer.write(claimed, features[claimed.start : claimed.stop])
        assert writer.finish()
