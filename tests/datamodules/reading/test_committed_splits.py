import hashlib
import json
import shutil
import subprocess

import pytest

import datamodules.reading.committed_splits
from cmr_lightning.errors import UserError
from datamodules.reading.committed_splits import CHECKSUMS, SPLITS, read_rows, read_split
from tests.building import ROOT

PASCAL = [f"pascal_sentence_{number}" for number in range(5)]


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the committed lists that a test may spoil."""
    folder = shutil.copytree(SPLITS, tmp_path / "splits")
    monkeypatch.setattr(datamodules.reading.committed_splits, "SPLITS", folder)
    return folder


def smallest(seed, ids):
    """The ids in the order that the committed lists were made by."""
    return sorted(ids, key=lambda i: hashlib.sha256(f"{seed}/{i}".encode()).hexdigest())


def test_every_committed_file_is_in_the_checksum_file_and_the_other_way_round():
    lines = (SPLITS / CHECKSUMS).read_text().splitlines()
    listed = dict(reversed(line.split("  ")) for line in lines)
    present = {path.name for path in SPLITS.iterdir()} - {CHECKSUMS}
    assert len(listed) == len(lines)
    assert set(listed) == present
    for name, checksum in listed.items():
        assert hashlib.sha256((SPLITS / name).read_bytes()).hexdigest() == checksum


def test_git_leaves_line_ends_as_they_are_committed():
    """A checkout with `core.autocrlf` would change the checksums."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "check-attr", "text", *(path.name for path in SPLITS.iterdir())]
    said = subprocess.run(command, cwd=SPLITS, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [f"{path.name}: text: unset" for path in SPLITS.iterdir()]


def test_a_list_is_read_as_committed():
    assert read_split("wikipedia_validation") == json.loads((SPLITS / "wikipedia_validation.json").read_text())


def test_a_changed_list_is_refused(copied):
    path = copied / "wikipedia_validation.json"
    path.write_text(path.read_text().replace("92", "93", 1))
    with pytest.raises(UserError, match=r"wikipedia_validation\.json has not the checksum of .*SHA256SUMS"):
        read_split("wikipedia_validation")


def test_a_list_without_a_checksum_is_refused(copied):
    (copied / "mine.json").write_text("{}")
    with pytest.raises(UserError, match=r"mine\.json has not the checksum"):
        read_split("mine")


@pytest.mark.parametrize("name", ["wikipedia_validation.json", CHECKSUMS])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        read_split("wikipedia_validation")


def test_wikipedia_validation_is_a_tenth_of_each_class():
    train = (138, 272, 244, 248, 202, 178, 186, 144, 214, 347)
    rows = read_split("wikipedia_validation")["rows"]
    assert [len(of) for of in rows.values()] == [round(count / 10) for count in train]
    assert len({row for of in rows.values() for row in of}) == sum(map(len, rows.values())) == 217


def test_dscmr_validation_is_five_rows_of_each_class_and_those_of_the_rule():
    rows = read_split("pascal_sentence_dscmr_validation")["rows"]
    assert list(rows) == [str(number) for number in range(20)]
    for of in rows.values():
        block = range(of[0] // 40 * 40, of[0] // 40 * 40 + 40)  # the published rows are sorted by class
        assert of == sorted(smallest(0, block)[:5])


@pytest.mark.parametrize("name", PASCAL)
def test_pascal_splits_follow_their_rule(name):
    parts = read_split(name)["parts"]
    assert list(parts) == ["train", "val", "test"]
    assert all(list(of) == sorted(of) and len(of) == 20 for of in parts.values())
    for label in parts["train"]:
        files = smallest(name[-1], [file for of in parts.values() for file in of[label]])
        assert len(set(files)) == 50
        assert parts["train"][label] == sorted(files[:40])
        assert parts["val"][label] == sorted(files[40:45])
        assert parts["test"][label] == sorted(files[45:])


def test_pascal_splits_are_five_different_ones_of_the_same_images():
    splits = [read_split(name)["parts"] for name in PASCAL]
    test = [frozenset(file for files in parts["test"].values() for file in files) for parts in splits]
    everything = {
        frozenset((label, file) for of in parts.values() for label, files in of.items() for file in files)
        for parts in splits
    }
    assert len(set(test)) == 5
    assert len(everything) == 1


class TestReadRows:
    """Rows of a list are checked against the labels of the published file."""

    classes = tuple(str(number) for number in range(20))

    def labels(self):
        labels = [0] * 800
        for name, rows in read_split("pascal_sentence_dscmr_validation")["rows"].items():
            for row in rows:
                labels[row] = int(name)
        return labels

    def read(self, labels, tmp_path):
        return read_rows("pascal_sentence_dscmr_validation", labels, self.classes, tmp_path / "labels.mat")

    def test_rows_come_in_rising_order(self, tmp_path):
        rows = self.read(self.labels(), tmp_path)
        assert rows == sorted(rows)
        assert len(rows) == 100

    def test_a_row_of_another_class_is_refused(self, tmp_path):
        labels = self.labels()
        row = read_split("pascal_sentence_dscmr_validation")["rows"]["7"][2]
        labels[row] = 3
        with pytest.raises(UserError, match=rf"labels\.mat .* row {row}, .* should have the class 7 and has 3"):
            self.read(labels, tmp_path)

    def test_a_row_beyond_the_file_is_refused(self, tmp_path):
        with pytest.raises(UserError, match="is not there"):
            self.read(self.labels()[:700], tmp_path)
