import gzip
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from cmr_lightning.prepare.data_sets import data_set, published
from cmr_lightning.prepare.verification import Finding, verify
from datamodules.pascal_sentence_dscmr import PascalSentenceDSCMR
from tests.cmr_lightning.prepare.toys import LIST, ListedToys, Toys, write_list, write_pictures
from tests.datamodules.published.flickr8k import write as write_flickr8k
from tests.datamodules.published.wikipedia import write as write_wikipedia

REAL = {
    "wikipedia": [],
    "pascal_sentence": [],
    "flickr8k": ["pictures"],
    "flickr30k": ["pictures"],
    "mscoco": ["train", "val", "test"],
    "fashion_iq": ["pictures"],
}
"""What is not whole in the copies that the tests may find, which hold few pictures."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_list(tmp_path)
    write_pictures(tmp_path)
    return tmp_path


def by_subject(findings: list[Finding]) -> dict[str, tuple[str, str]]:
    return {finding.subject: (finding.state, finding.sentence) for finding in findings}


def faults(findings: list[Finding]) -> list[str]:
    return [finding.subject for finding in findings if finding.fault]


def test_a_whole_data_set(root: Path) -> None:
    findings = verify(Toys, root)
    assert by_subject(findings) == {
        LIST: ("ok", f"{(root / LIST).stat().st_size:,} bytes"),
        "train": ("ok", "4 pictures, 20 texts"),
        "val": ("ok", "2 pictures, 10 texts"),
        "test": ("ok", "2 pictures, 10 texts"),
    }
    assert findings[1].counts == {"pictures": 4, "texts": 20}


def test_a_packed_list_will_do(root: Path) -> None:
    (root / f"{LIST}.gz").write_bytes(gzip.compress((root / LIST).read_bytes()))
    (root / LIST).unlink()
    findings = verify(Toys, root)
    assert findings[0].subject == f"{LIST}.gz"
    assert not faults(findings)


def test_nothing_is_read_where_a_file_is_missing_or_empty(root: Path) -> None:
    (root / LIST).write_text("")
    assert by_subject(verify(Toys, root)) == {LIST: ("wrong", "is empty")}
    (root / LIST).unlink()
    assert by_subject(verify(Toys, root)) == {LIST: ("missing", "missing")}


def test_another_checksum_is_wrong(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hashlib.sha256((root / LIST).read_bytes()).hexdigest()
    assert by_subject(verify(ListedToys, root))[LIST] == ("wrong", f"has the SHA-256 {found}, expected {'0' * 64}")
    monkeypatch.setattr(ListedToys, "facts", replace(ListedToys.facts, sha256={LIST: found}))
    assert not faults(verify(ListedToys, root))


def test_the_sentence_of_the_data_set_is_what_is_wrong(root: Path) -> None:
    (root / LIST).write_text('{"images": [')
    state, sentence = by_subject(verify(Toys, root))["train"]
    assert state == "wrong"
    assert sentence.startswith(f"{root / LIST} is not a JSON file in UTF-8 with a list of images")
    assert sentence.endswith("; write the list into the folder given as data.root")


def test_sizes_are_compared_with_the_facts(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {**Toys.facts.counts, "val": Toys.facts.counts["val"]._replace(pictures=None, texts=3)}
    monkeypatch.setattr(Toys, "facts", replace(Toys.facts, counts=counts))
    findings = verify(Toys, root)
    assert by_subject(findings)["val"] == ("wrong", "2 pictures, 10 texts, expected 3 texts")
    assert faults(findings) == ["val"]


def test_pictures_that_are_listed_and_missing_or_empty_are_named(root: Path) -> None:
    (root / "images/1.jpg").unlink()
    (root / "images/7.jpg").write_text("")
    finding = verify(Toys, root)[-1]
    assert (finding.subject, finding.state) == ("pictures", "missing")
    assert finding.sentence == "2 of the 8 that are listed are missing or empty"
    assert finding.missing == ["images/1.jpg", "images/7.jpg"]


def test_wikipedia_is_whole_without_pictures_or_articles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wikipedia(tmp_path, pictures=1)
    (tmp_path / "raw_features_with_tfidf.mat").write_bytes((tmp_path / "raw_features.mat").read_bytes())
    kind = data_set("wikipedia")
    findings = by_subject(verify(kind, tmp_path))
    assert findings["trainset_txt_img_cat.list"][1].startswith("has the SHA-256")  # invented rows
    monkeypatch.setattr(kind, "facts", replace(kind.facts, sha256={}))
    found = verify(kind, tmp_path)
    assert by_subject(found)["pictures"][0] == "missing"
    assert faults(found) == ["raw_features_with_tfidf.mat"]
    assert "has no array T_tfidf_tr" in by_subject(found[-2:])["raw_features_with_tfidf.mat"][1]
    (tmp_path / "raw_features.mat").write_bytes(b"<html>")
    assert "raw_features.mat cannot be read as a MATLAB file" in by_subject(verify(kind, tmp_path))["train"][1]


def test_features_without_pictures(invented_data: Path) -> None:
    findings = verify(PascalSentenceDSCMR, invented_data / "pascal_sentence_dscmr")
    assert not faults(findings)
    assert by_subject(findings)["train"] == ("ok", "700 pictures, 700 texts")


@pytest.mark.parametrize("karpathy", [True, False])
def test_either_list_of_flickr8k_will_do(tmp_path: Path, karpathy: bool) -> None:
    write_flickr8k(tmp_path, karpathy=karpathy)
    (tmp_path / "Flicker8k_Dataset").rename(tmp_path / "photographs")
    findings = verify(data_set("flickr8k"), tmp_path)
    assert faults(findings) == ["train", "val", "test"]
    assert by_subject(findings)["train"][1] == "40 pictures, 200 texts, expected 6,000 pictures, 30,000 texts"
    assert "pictures" not in by_subject(findings)


@pytest.mark.parametrize("name", published())
def test_what_the_facts_name_is_what_the_data_set_reads(name: str, invented_data: Path) -> None:
    """Miniatures have other counts, and not all have pictures, but every file that is needed is in its place."""
    findings = verify(data_set(name), invented_data / name)
    wrong = [f for f in findings if f.fault and f.subject != "pictures"]
    assert [f.sentence for f in wrong if ", expected " not in f.sentence] == []


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_judged_right(name: str, real_data: Path) -> None:
    """The published counts are those of the real files."""
    root = real_data / name
    if not root.is_dir():
        pytest.skip(f"CMR_DATA has no folder {name}")
    assert faults(verify(data_set(name), root)) == REAL[name]
