"""A run is whole: later commands use what it learned, and refuse or record what is not as it was in its training."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.runs.checkpoint_files import read_checkpoint
from datamodules.base import PartName
from datamodules.families.listed_data import PARTS
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.pairs import Pairs

pytestmark = pytest.mark.usefixtures("no_pictures")

COLOURS = ("red", "green", "blue", "grey")
_EXPERIMENT = """\
model:
  class_path: DAML
  init_args:
    dim: 8
    image_encoder: {{class_path: FeatureMLP, init_args: {{hidden: [16], dropout: 0}}}}
    text_encoder: {text_encoder}
    discriminator: {{class_path: ModalityClassifier}}
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


@pytest.fixture(scope="module", params=TEXTS)
def tested(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Album:
    """A run that was tested; no test may change it."""
    album = Album(tmp_path_factory.mktemp("album"), request.param)
    assert (album.fit(), album.do("test")) == (0, 0)
    return album


@pytest.fixture
def album(tested: Album, tmp_path: Path) -> Album:
    """A copy of the run, with data of its own; the config still names the data of the original."""
    copy = Album(tmp_path / "copy", tested.text)
    shutil.copytree(tested.run, copy.run)
    return copy


def at(album: Album) -> str:
    return f"--data.root={album.folder}"


def pictures(album: Album, part: PartName) -> tuple[str, ...]:
    return Pairs(str(album.folder), "pairs.csv", image=FeatureArchive("features.npz")).listing(part).pictures


Said = Callable[[], str]


def test_the_checkpoint_says_its_words_and_labels(tested: Album) -> None:
    trained_on = read_checkpoint(tested.run / "checkpoints" / "best.ckpt")["trained_on"]
    assert trained_on["classes"] == sorted(COLOURS)
    assert {"red", "cup", "hat"} <= set(trained_on["learned"]["text"]["words"])


def test_a_moved_data_set_is_the_same(album: Album) -> None:
    before = album.record()
    assert album.do("test", at(album)) == 0
    assert (album.record()["metrics"], album.record()["differences"]) == (before["metrics"], {})
    assert not album.others


def test_a_changed_word_of_the_training_part_changes_no_number(album: Album) -> None:
    """Only its checksum tells: the words of the training are used, in their order."""
    before = album.record()
    changed = next(row for row in album.rows if row[0] in pictures(album, "train"))
    changed[1] = changed[1].replace("number", "aardvark")
    album.write()
    assert album.do("test", at(album)) == 0
    assert album.record() == before
    (other,) = album.others
    again = album.record(str(other))
    assert again["metrics"] == before["metrics"]
    assert list(again["differences"]) == ["train part"]


def test_more_rows_in_the_training_part_change_no_number(album: Album) -> None:
    """With words that the run does not know."""
    before = album.record()
    of = {picture: part for part in PARTS for picture in pictures(album, part)}
    album.rows = [[*row, of[row[0]]] for row in album.rows]
    album.rows += [[f"{i}.jpg", f"an unheard word {i}", COLOURS[i % 4], "train"] for i in range(48, 60)]
    with (album.folder / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text", "label", "split"), *album.rows])
    assert album.do("test", at(album)) == 0
    (other,) = album.others
    assert album.record(str(other))["metrics"] == before["metrics"]
    assert {"split", "train part"} <= set(album.record(str(other))["differences"])
    assert album.do("validate", at(album)) == 0


@pytest.mark.parametrize("command", ["test", "validate", "predict"])
def test_a_split_whose_pictures_were_seen_is_refused(command: str, album: Album, said: Said) -> None:
    before = album.record()
    said()
    assert album.do(command, "--data.split_seed=5") == 2
    message = said()
    assert "drawn with seed 0" in message and "drawn with seed 5" in message
    assert "checksum" in message and "were seen in training" in message
    assert album.record() == before


def test_another_task_is_refused(album: Album, said: Said) -> None:
    said()
    assert album.do("test", "--data.columns.label=") == 2
    assert "was trained for the task 'label'" in said()


def test_other_labels_are_refused(album: Album, said: Said) -> None:
    for row in album.rows:
        row[2] = row[2].replace("grey", "pink")
    album.write()
    said()
    assert album.do("test", at(album)) == 2
    assert "new: pink; gone: grey" in said()


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--model.generator_optimizer.lr=1e-6", "model.generator_optimizer.lr was 0.01 and is 1e-06"),
        ("--model.weights.adversarial=0", "model.weights.adversarial was None and is 0"),
        ("--model.dim=9", "model.dim was 8 and is 9"),
        ("--data.split_seed=5", "data.split_seed was 0 and is 5"),
        ("--data.batch_size=4", "data.batch_size was 8 and is 4"),
        ("--seed_everything=1", "seed_everything was 0 and is 1"),
        ("--trainer.limit_train_batches=2", "trainer.limit_train_batches was None and is 2"),
    ],
)
def test_resuming_with_other_settings_is_refused(option: str, words: str, tested: Album, said: Said) -> None:
    said()
    assert tested.fit("--resume=true", option) == 2
    assert words in said()


def test_resuming_on_other_data_is_refused(album: Album, said: Said) -> None:
    changed = next(row for row in album.rows if row[0] in pictures(album, "val"))
    changed[1] = changed[1].replace("number", "hat")
    album.write()
    said()
    assert album.fit("--resume=true", at(album)) == 2
    assert "part has changed since the run began" in said()


def test_a_longer_training_is_recorded_and_the_old_result_kept(album: Album) -> None:
    before = album.record()
    assert album.fit("--resume=true", "--trainer.max_epochs=4") == 0
    (other,) = album.others
    assert album.record(str(other)) == before
    assert not (album.run / "record.json").exists()
    assert album.do("test") == 0
    (change,) = album.record()["changes"]
    assert change["trainer.max_epochs"] == [3, 4]
    assert change["updates"] > 0


@pytest.mark.parametrize(
    ("option", "words"),
    [("--model.dim=9", "model.dim was 8 and is 9"), ("--model.weights.adversarial=3", "model.weights.adversarial")],
)
def test_a_model_of_other_settings_is_refused(option: str, words: str, tested: Album, said: Said) -> None:
    said()
    assert tested.do("test", option) == 2
    assert words in said()


def test_another_checkpoint_gets_a_record_of_its_own(album: Album) -> None:
    before = album.record()
    checkpoint = album.folder / "another.ckpt"
    content = read_checkpoint(album.run / "checkpoints" / "best.ckpt")
    content["state_dict"] = {name: -weight for name, weight in content["state_dict"].items()}
    torch.save(content, checkpoint)
    assert album.do("test", f"--ckpt_path={checkpoint}") == 0
    assert album.record() == before
    assert album.record(str(*album.others))["weights"] != before["weights"]


def test_other_settings_of_the_data_get_a_record_of_their_own(album: Album) -> None:
    before = album.record()
    assert album.do("test", "--data.test_fraction=0.101") == 0  # as many pictures as before
    assert album.record() == before
    assert album.record(str(*album.others))["differences"] == {"data.test_fraction": "0.1"}
