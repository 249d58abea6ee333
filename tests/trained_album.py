"""A small data set of somebody's own, an experiment on it, and its run, for tests of what may happen to them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from cmr_lightning.__main__ import main

COLOURS = ("red", "green", "blue", "grey")
_EXPERIMENT = """\
model:
  class_path: DAML
  init_args:
    dim: 8
    image_encoder: {{class_path: FeatureMLP, init_args: {{hidden: [16], dropout: 0}}}}
    text_encoder: {text_encoder}
    alignment: {{class_path: ModalityAdversary}}
    generator_optimizer: {{class_path: Adam, init_args: {{lr: 1.0e-2}}}}
data:
  class_path: Pairs
  init_args:
    root: {root}
    table: pairs.csv
    batch_size: 8
    image: {{class_path: FeatureArchive, init_args: {{path: features.npz}}}}
    text: {{class_path: {text}}}
trainer: {{max_epochs: 3, accelerator: cpu}}
"""
TEXTS = {
    "WordTokens": "{class_path: WordRNN, init_args: {embedding: 8, hidden: 8}}",
    "WordWeights": "{class_path: FeatureMLP, init_args: {hidden: [16], dropout: 0}}",
}


class Album:
    """Forty-eight pictures of four colours with two texts each, as features and a table, and an experiment on them."""

    def __init__(self, folder: Path, text: str = "WordTokens") -> None:
        self.folder, self.run, self.text = folder, folder / "run", text
        folder.mkdir(parents=True, exist_ok=True)
        draw = np.random.default_rng(0)
        self.rows = [
            [f"{number}.jpg", f"a {COLOURS[number % 4]} {thing} number {number}", COLOURS[number % 4]]
            for number in range(48)
            for thing in ("cup", "hat")
        ]
        label = np.arange(60) % 4
        features = np.eye(4)[label].repeat(3, 1) + 0.3 * draw.normal(size=(60, 12))
        names = np.array([f"{number}.jpg" for number in range(60)])
        np.savez(folder / "features.npz", names=names, features=features.astype(np.float32))
        self.write()
        config = _EXPERIMENT.format(root=folder, text=text, text_encoder=TEXTS[text])
        (folder / "album.yaml").write_text(config)

    def write(self) -> None:
        with (self.folder / "pairs.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "text", "label"), *self.rows])

    def fit(self, *options: str) -> int:
        return main(["fit", f"--config={self.folder / 'album.yaml'}", f"--run_dir={self.run}", *options])

    def do(self, command: str, *options: str) -> int:
        return main([command, f"--config={self.run / 'config.yaml'}", *options])

    def record(self, folder: str = "") -> dict[str, Any]:
        return json.loads((self.run / folder / "record.json").read_text())

    @property
    def others(self) -> list[Path]:
        return sorted((self.run / "other_conditions").glob("*"))
