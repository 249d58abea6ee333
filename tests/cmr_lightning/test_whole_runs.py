"""A run is whole: later commands use what it learned, and refuse or record what is not as it was in its training."""

import csv
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from cmr_lightning.__main__ import main
from cmr_lightning.runs.checkpoint_files import read_checkpoint
from datamodules.base import PartName
from datamodules.families.listed_data import PARTS
from datamodules.inputs.feature_archive import FeatureArchive
from datamodules.pairs import Pairs
from tests.trained_album import COLOURS, TEXTS, Album

pytestmark = pytest.mark.usefixtures("no_pictures")


@pytest.fixture(scope="module")
def tested(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Album:
    """A run that was tested, with words unless something else is asked for; no test may change it."""
    album = Album(tmp_path_factory.mktemp("album"), getattr(request, "param", "WordTokens"))
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


either = pytest.mark.parametrize("tested", TEXTS, indirect=True)


@either
def test_the_checkpoint_says_its_words_and_labels(tested: Album) -> None:
    trained_on = read_checkpoint(tested.run / "checkpoints" / "best.ckpt")["trained_on"]
    assert trained_on["classes"] == sorted(COLOURS)
    words = trained_on["learned"]["text"]["words"]
    assert {"red", "cup", "hat"} <= set(words)
    for_people = json.loads((tested.run / "trained_on.json").read_text())
    assert (for_people["classes"], for_people["learned"]["text"]["words"]) == (sorted(COLOURS), words)


def test_a_run_without_its_data_says_what_it_needs(album: Album, said: Said) -> None:
    (album.folder / "pairs.csv").unlink()
    said()
    assert album.do("test", at(album)) == 2
    assert "pairs.csv is missing; it is the table of pairs given as data.table" in said()


def test_a_picture_that_cannot_be_drawn_is_a_note_beside_the_record(
    album: Album, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmr_lightning.callbacks.gallery.draw_gallery", Mock(side_effect=ValueError("an odd font")))
    (album.run / "record.json").unlink()
    said()
    assert album.do("test") == 0
    assert "gallery.png could not be drawn (ValueError: an odd font)" in said()
    assert album.record()["metrics"]


def test_odd_signs_in_labels_and_texts_do_no_harm(tmp_path: Path, said: Said) -> None:
    """Such as what matplotlib takes for a formula, half a character, and the end of a line."""
    odd = Album(tmp_path)
    rows = [
        (name, f"{text} $a_^$ \ud83d \u2028 x", label.replace("grey", "$a_^$ \ud83d")) for name, text, label in odd.rows
    ]
    lines = [json.dumps(dict(zip(("image", "text", "label"), row, strict=True))) for row in rows]
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    experiment = tmp_path / "album.yaml"
    experiment.write_text(experiment.read_text().replace("pairs.csv", "pairs.jsonl"))
    assert (odd.fit(), odd.do("test"), odd.do("predict")) == (0, 0, 0)
    said()
    assert main(["report", str(odd.run), f"--output={tmp_path / 'report'}"]) == 0
    assert "has no map" not in said()


def test_a_moved_data_set_is_the_same(album: Album) -> None:
    before = album.record()
    assert album.do("test", at(album)) == 0
    assert (album.record()["metrics"], album.record()["differences"]) == (before["metrics"], {})
    assert not album.others


@either
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


@either
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
        ("--model.weights.alignment=0", "model.weights.alignment was None and is 0"),
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
    [("--model.dim=9", "model.dim was 8 and is 9"), ("--model.weights.alignment=3", "model.weights.alignment")],
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


def test_the_checkpoint_of_a_stranger_runs_nothing_under_a_config_of_ones_own(
    album: Album, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text("raise SystemExit('the code of a stranger')")
    monkeypatch.syspath_prepend(tmp_path)
    content = read_checkpoint(album.run / "checkpoints" / "best.ckpt")
    content["config"]["trainer"]["callbacks"] = [{"class_path": "stranger.Callback"}]
    theirs = tmp_path / "theirs.ckpt"
    torch.save(content, theirs)
    assert album.do("test", f"--ckpt_path={theirs}") == 0
    assert "stranger" not in sys.modules


def test_other_settings_of_the_data_get_a_record_of_their_own(album: Album) -> None:
    before = album.record()
    assert album.do("test", "--data.test_fraction=0.101") == 0  # as many pictures as before
    assert album.record() == before
    assert album.record(str(*album.others))["differences"] == {"data.test_fraction": "0.1"}
