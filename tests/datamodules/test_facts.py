from pathlib import Path

import pytest

from datamodules.facts import Counts, Facts, Origin, absent
from datamodules.pascal_sentence import PascalSentence


def test_a_json_file_is_there_when_it_is_packed(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json", "c.txt.gz"):
        (tmp_path / name).touch()
    assert absent(tmp_path, ["a.json", "b.json", "c.txt", "d.json"]) == ["c.txt", "d.json"]


def test_the_layout_is_the_one_that_is_there(tmp_path: Path) -> None:
    facts = PascalSentence.facts
    assert facts.layout(tmp_path) == [facts.origins[0]]
    (tmp_path / "sentence").mkdir()
    assert facts.layout(tmp_path) == [facts.origins[1]]
    (tmp_path / "pascal_sentences.json.gz").touch()
    assert facts.layout(tmp_path) == [facts.origins[0]]


def test_a_file_in_a_folder_comes_from_where_the_folder_comes_from() -> None:
    facts = Facts("toys", "Toys", "class", origins=(Origin(("a",), "get a"), Origin(("b",), "get b")))
    assert facts.source("b/c.txt").startswith("get b into the folder given as data.root. `python -m")
    with pytest.raises(KeyError):
        facts.source("c")


def test_parts_are_what_is_known() -> None:
    counts = {"train": Counts(), "val": Counts(3, 5), "test": Counts(2000)}
    assert Facts("toys", "Toys", "class", counts=counts, remark="drawn").parts == "3 / 2,000; drawn"
    assert Facts("toys", "Toys", "composed", counts=counts).parts == "5 queries"
    assert Facts("toys", "Toys", "composed", remark="drawn").parts == "drawn"
    assert Counts(people=5).in_words() == "5 people"
