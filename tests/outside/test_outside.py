"""An adversary costs one Python file and one YAML, a data set one module, one split and one card; ours stay the same.

With the adversary, its method goes through the contract of all methods, in `test_all_methods.py`.
"""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmr_lightning.__main__ import main
from datamodules.facts import card_table
from tests.building import ROOT
from tests.outside.herbarium import Herbarium

OUTSIDE = ROOT / "tests" / "outside"


@pytest.fixture
def herbarium(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sheets and what is written on them, invented."""
    root = tmp_path / "herbarium"
    (root / "sheets").mkdir(parents=True)
    lines = ["sheet,label"]
    for sheet in range(24):
        pixels = np.random.default_rng(sheet).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "sheets" / f"{sheet:02d}.png")
        lines.append(f"{sheet:02d},plant {sheet % 6} of meadow {sheet // 6}")
    (root / "labels.csv").write_text("\n".join(lines))
    monkeypatch.setenv("CMR_DATA", str(tmp_path))
    return root


def test_a_data_set_is_prepared_trained_on_and_tested(
    herbarium: Path, no_pictures: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "tests.outside.herbarium.Herbarium"
    assert main(["prepare", name, f"--root={herbarium}"]) == 0
    assert "16 pictures" in capsys.readouterr().out
    run = tmp_path / "run"
    experiment = OUTSIDE / "experiments" / "herbarium" / "triplet.yaml"
    assert main(["fit", f"--config={experiment}", f"--run_dir={run}", "--trainer.accelerator=cpu"]) == 0
    assert main(["test", f"--config={run / 'config.yaml'}"]) == 0
    record = json.loads((run / "record.json").read_text())
    assert record["experiment"] == "herbarium/triplet"
    assert record["split"]["name"] == "by sheet"


def test_an_adversary_plays_by_its_share(tmp_path: Path) -> None:
    experiment, run = OUTSIDE / "experiments" / "shapes" / "least_squares.yaml", tmp_path / "run"
    small = [
        "--data.num_train=64",
        "--data.num_val=40",
        "--data.num_test=40",
        "--data.batch_size=16",
        "--trainer.max_epochs=2",
    ]
    assert main(["fit", f"--config={experiment}", f"--run_dir={run}", "--trainer.accelerator=cpu", *small]) == 0
    with (run / "metrics.csv").open(newline="") as file:
        weights = [float(row["game/weight/alignment"]) for row in csv.DictReader(file) if row["game/weight/alignment"]]
    assert len(weights) == 1
    assert weights[0] > 0


def test_a_card_has_the_table_of_the_facts() -> None:
    card = (OUTSIDE / "cards" / "herbarium.md").read_text()
    assert card_table("tests.outside.herbarium.Herbarium", Herbarium.facts) in card
