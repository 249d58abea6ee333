"""Extraction against a bare timm loop over the same picture files, with the same number of workers, in turn.

python -m tests.benchmarks.extraction [--pictures FOLDER] [--model mobilenetv2_100] [--workers 2]
"""

import argparse
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cmr_lightning.encoders import TimmEncoder
from cmr_lightning.evaluation import INSTANCE_LEVEL
from cmr_lightning.extract.extract_features import extract
from datamodules.base import PartName
from datamodules.families.listed_data import ListedData
from datamodules.inputs.pictures import Pictures
from datamodules.inputs.text_inputs import WordTokens
from datamodules.reading.listing import Listing, no_labels
from tests.benchmarks.photographs import write_photograph

RESIZE, CROP = 256, 224
COUNT, BATCH, ROUNDS = 256, 64, 5
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class Folder(ListedData):
    """The pictures of a folder, all for training but two."""

    classes = ("anything",)
    protocols = INSTANCE_LEVEL
    split_name = "all"

    def __init__(self, root: Path, names: list[str], workers: int) -> None:
        super().__init__(str(root), Pictures(CROP, RESIZE, workers=workers), WordTokens())
        self.names = {"train": names[2:], "val": names[:1], "test": names[1:2]}

    def list_part(self, part: PartName) -> Listing:
        names = self.names[part]
        return Listing(tuple(names), no_labels(len(names)), ("a picture",) * len(names), torch.arange(len(names)))


class Files(Dataset):
    """What a bare loop reads: decoded and transformed by timm's own evaluation transform."""

    def __init__(self, paths: list[Path], config: dict) -> None:
        self.paths = paths
        self.transform = timm.data.create_transform(**{**config, "crop_pct": CROP / RESIZE}, is_training=False)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> torch.Tensor:
        with Image.open(self.paths[row]) as picture:
            return self.transform(picture.convert("RGB"))


def bare(paths: list[Path], model: str, workers: int) -> float:
    """Seconds that a bare loop takes."""
    backbone = timm.create_model(model, num_classes=0).eval().to(DEVICE)
    files = Files(paths, timm.data.resolve_model_data_config(backbone))
    started = time.perf_counter()
    with torch.inference_mode():
        torch.cat([backbone(batch.to(DEVICE)).cpu() for batch in DataLoader(files, BATCH, num_workers=workers)])
    return time.perf_counter() - started


def ours(root: Path, names: list[str], model: str, workers: int) -> float:
    """Seconds that extraction takes, its files written."""
    data = Folder(root, names, workers)
    assert data.spec.num_images
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        encoder = {"image": lambda source, dim: TimmEncoder(source, dim, model)}
        extract(data, "benchmark", {"image": model}, **encoder, batch_size=BATCH, device=DEVICE, folder=folder)
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of JPEGs; drawn ones if it is not given")
    parser.add_argument("--model", default="mobilenetv2_100")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    with TemporaryDirectory() as drawn:
        if options.pictures is None:
            options.pictures = Path(drawn)
            for row in range(COUNT):
                write_photograph(row, options.pictures)
        measure(options)


def measure(options: argparse.Namespace) -> None:
    names = sorted(path.name for path in options.pictures.glob("*.jpg"))[:COUNT]
    paths = [options.pictures / name for name in names]
    settings = options.model, options.workers
    ratios = []
    for _ in range(ROUNDS):
        theirs, own = bare(paths, *settings), ours(options.pictures, names, *settings)
        ratios.append(own / theirs)
        print(f"bare loop {len(names) / theirs:7.1f}/s   extract {len(names) / own:7.1f}/s   time x {ratios[-1]:.3f}")
    print(f"extract takes {median(ratios):.3f} times as long as the bare loop")


if __name__ == "__main__":
    main()
