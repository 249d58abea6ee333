"""Runs that no training made, with everything that `fit` and `test` leave in their folders."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image

from cmr_lightning.evaluation import (
    CLASS_LEVEL,
    COMPOSED_TARGET,
    Compositions,
    Measurement,
    Record,
    measure,
    measure_composed,
    save_ranks,
)
from cmr_lightning.evaluation.examples import Answered, Examples
from cmr_lightning.runs.run import Run

MAP = "map@all/cos/label"
CLASSES, PER_CLASS = 4, 6
ITEMS = CLASSES * PER_CLASS

RECORD = Record(
    experiment="toys/daml",
    method="DAML",
    dataset="Toys",
    split={"name": "split a", "checksum": "a"},
    data_checksum="data of a",
    protocol=MAP,
    seed=0,
    selection={"monitor": f"val/{MAP}/mean", "mode": "max", "value": 0.5, "epoch": 2, "step": 30},
    encoders={"image": "FeatureMLP", "text": "FeatureMLP", "features": "toy features"},
    versions={"python": "3.11"},
    git_revision=None,
    hardware={"cpu": "abacus", "cores": 2, "gpus": []},
    metrics={},
    num_parameters=1234,
    wall_time={"fit_s": 10.0, "test_s": 1.0},
    created="2026-01-01T00:00:00+00:00",
    config={"seed_everything": 0},
    pictures={"train": 8 * ITEMS, "val": ITEMS, "test": ITEMS},
)


def on_split(split: str) -> dict[str, object]:
    """What a record says about a split."""
    return {"split": {"name": f"split {split}", "checksum": split}, "data_checksum": f"data of {split}"}


def make_run(
    folder: Path, noise: float = 1.0, caption: str = "a toy", name: str = "toy.jpg", examples: bool = True, **changes
) -> Run:
    """A run whose embeddings are its classes and `noise`; `changes` are those of its record."""
    record = replace(RECORD, **changes)
    draw = torch.Generator().manual_seed(record.seed)
    label = torch.arange(ITEMS) % CLASSES
    centres = torch.nn.functional.one_hot(label, CLASSES)
    embedded = [centres + noise * torch.randn(ITEMS, CLASSES, generator=draw) for _ in range(2)]
    measured = measure(*embedded, {"label": (label, label)}, CLASS_LEVEL)
    run = _write(Run(folder), record, measured, noise, {f"val/{MAP}/i2t": 0.1, f"val/{MAP}/t2i": 0.2})
    if examples:
        _examples(label.numpy(), [points.numpy() for points in embedded], caption, name).write(run.examples)
    return run


def make_composed_run(folder: Path, noise: float = 1.0, **changes) -> Run:
    """A run on composed queries: image i asks for image i + 1, in the words `a toy`."""
    protocol = COMPOSED_TARGET[0].id
    settings = {"protocol": protocol, "dataset": "ComposedToys", "experiment": "composed/tirg", "method": "TIRG"}
    record = replace(RECORD, **{**settings, **changes})
    draw = torch.Generator().manual_seed(record.seed)
    rows = torch.arange(ITEMS)
    asked = Compositions(rows, (rows + 1) % ITEMS, {})
    images = torch.eye(ITEMS)
    queries = images[asked.target] + noise * torch.randn(ITEMS, ITEMS, generator=draw)
    measured = measure_composed(images, queries, asked, COMPOSED_TARGET)
    run = _write(Run(folder), record, measured, noise, {f"val/{protocol}/c2i": 0.1})
    examples = _examples(rows.numpy() % CLASSES, [images.numpy(), queries.numpy()], "a toy", "toy.jpg")
    answered = replace(examples.answered["t2i"], target=asked.target.numpy().astype(np.int32))
    replace(examples, asking={"c2i": examples.owner}, answered={"c2i": answered}).write(run.examples)
    return run


def write_claims(*rows: dict[str, object]) -> None:
    """Write the rows of published numbers on the data set `Toys` into the working directory."""
    path = Path("experiments/claims/toys.yaml")
    path.parent.mkdir(parents=True)
    path.write_text(yaml.safe_dump([{"dataset": "Toys", "rows": list(rows)}]))


def _write(run: Run, record: Record, measured: Measurement, noise: float, scores: dict[str, float]) -> Run:
    """Ranks, record and log; the log has all `scores` and the loss `noise`, times the epoch."""
    save_ranks(run.ranks, measured.ranks)
    replace(record, metrics=measured.metrics).write(run.record)
    scores = {**scores, "train/generator/label": noise}
    game = {"game/modality_gap": 0.5, "game/discriminator_accuracy": 0.6}
    with run.metrics.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "step", *scores, *game])
        writer.writeheader()
        for epoch in range(5):
            writer.writerow({"epoch": epoch, "step": 10 * epoch, **{key: v * epoch for key, v in scores.items()}})
            writer.writerow({"step": 10 * epoch, **game})
    return run


def _examples(label: np.ndarray, points: list[np.ndarray], caption: str, name: str) -> Examples:
    rows = np.arange(ITEMS, dtype=np.int32)
    found = (rows[:, None] + np.arange(5, dtype=np.int32)) % ITEMS
    answered = Answered(rows, np.linspace(0, 1, ITEMS, dtype=np.float32), found, label[found] == label[:, None])
    picture = io.BytesIO()
    pixels = np.random.default_rng(int(1000 * abs(points[0][0, 0]))).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(picture, "JPEG")
    return Examples(
        classes=tuple(f"class {c}" for c in range(CLASSES)),
        label=label.astype(np.int16),
        owner=rows,
        asking={"i2t": rows, "t2i": rows},
        points={modality: p.astype(np.float16) for modality, p in zip(("image", "text"), points, strict=True)},
        point_rows={"image": rows, "text": rows},
        answered={"i2t": answered, "t2i": answered},
        names=dict.fromkeys(range(ITEMS), name),
        captions=dict.fromkeys(range(ITEMS), caption),
        pictures=dict.fromkeys(range(0, ITEMS, 2), picture.getvalue()),
    )
