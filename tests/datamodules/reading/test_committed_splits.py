import hashlib
import json
import shutil
import subprocess

import pytest

import datamodules.reading.committed_splits
from cmr_lightning.errors import UserError
from datamodules.reading.committed_splits import CHECKSUMS, SPLITS, check_labels, held_out, read_rows, read_split
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
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in SPLITS.glob("*.json")}
    assert len(listed) == len(lines) == len(list(SPLITS.iterdir())) - 1
    assert listed == present


def test_git_leaves_line_ends_as_they_are_committed():
    """A checkout with `core.autocrlf` would change the checksums."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "check-attr", "text", *(path.name for path in SPLITS.iterdir())]
    said = subprocess.run(command, cwd=SPLITS, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said == [f"{path.name}: text: unset" for path in SPLITS.iterdir()]


@pytest.mark.parametrize("name", ["wikipedia_validation", "mine"])
def test_a_list_that_is_changed_or_has_no_checksum_is_refused(copied, name):
    (copied / f"{name}.json").write_text("{}")
    with pytest.raises(UserError, match=rf"{name}\.json does not have the checksum of .*SHA256SUMS"):
        read_split(name)


@pytest.mark.parametrize("name", ["wikipedia_validation.json", CHECKSUMS])
def test_a_missing_file_is_named(copied, name):
    (copied / name).unlink()
    with pytest.raises(UserError, match=f"{name} is missing"):
        read_split("wikipedia_validation")


def test_wikipedia_validation_is_a_tenth_of_each_class():
    train = (138, 272, 244, 248, 202, 178, 186, 144, 214, 347)
    rows = read_split("wikipedia_validation")["rows"]
    assert rows == json.loads((SPLITS / "wikipedia_validation.json").read_text())["rows"]
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
    def images(*parts):
        return frozenset((label, file) for part in parts for label, files in part.items() for file in files)

    splits = [read_split(name)["parts"] for name in PASCAL]
    assert len({images(parts["test"]) for parts in splits}) == 5
    assert len({images(*parts.values()) for parts in splits}) == 1


@pytest.mark.parametrize("data_set", ["wikipedia", "pascal_sentence_dscmr"])
def test_rows_come_in_rising_order_each_in_its_class(data_set):
    rows = read_rows(f"{data_set}_validation")
    assert rows == sorted(set(rows))
    labels = read_split(f"{data_set}_labels")["labels"]["train"]
    for number, of_class in enumerate(read_split(f"{data_set}_validation")["rows"].values()):
        assert {labels[row] for row in of_class} == {number}


@pytest.mark.parametrize("half", ["train", "test"])
def test_labels_in_another_order_are_refused(half, tmp_path):
    name, classes = "wikipedia_labels", list("abcdefghij")
    labels = list(read_split(name)["labels"][half])
    check_labels(name, half, labels, classes, tmp_path / "some.list")
    row = next(row for row in range(60, 90) if labels[row] != labels[row + 1])
    labels[row], labels[row + 1] = labels[row + 1], labels[row]
    message = rf"some\.list .* row {row}, .* the class {classes[labels[row + 1]]} and has {classes[labels[row]]}"
    with pytest.raises(UserError, match=message):
        check_labels(name, half, labels, classes, tmp_path / "some.list")


def test_a_tenth_of_the_names_is_held_out_whatever_else_there_is():
    names = [f"product {number}" for number in range(5000)]
    out = [name for name in names if held_out(name)]
    assert len(out) / len(names) == pytest.approx(0.1, abs=0.015)
    assert all(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % 10 == 0 for name in out)
