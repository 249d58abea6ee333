from __future__ import annotations

from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.prepare.checks import Finding, JsonFile, ListedFiles
from cmr_lightning.prepare.source import Source, absent, names, source_of
from datamodules.flickr import Flickr8k
from tests.datamodules.published.flickr8k import write as write_flickr8k
from tests.datamodules.published.wikipedia import write as write_wikipedia

NEVER_FETCHED = ("flickr8k", "flickr30k", "cuhk_pedes", "nus_wide", "fashion200k", "fashion_iq")
REAL = {
    "wikipedia": [],
    "pascal_sentence": [],
    "flickr8k": ["pictures"],
    "flickr30k": ["flickr30k-images/"],
    "mscoco": ["dataset_coco.json"],
    "fashion_iq": ["images/"] * 6,
}
"""What is not whole in the copies that the tests may find, which hold few pictures."""


def findings(name: str, root: Path) -> list[Finding]:
    return [finding for check in source_of(name).layout(root).checks for finding in check.check(root)]


def test_every_module_is_a_data_set() -> None:
    assert {*REAL, *NEVER_FETCHED} <= set(names())
    for name in names():
        assert isinstance(source_of(name), Source)


@pytest.mark.parametrize("name", names())
def test_every_source_says_its_terms_and_how_to_get_everything_that_is_needed(name: str) -> None:
    source = source_of(name)
    assert source.terms.endswith(".")
    for layout in source.layouts:
        by_hand = (*layout.by_hand, *source.by_hand)
        assert all(part.how.endswith(".") for part in by_hand)
        brought = [part for group in (source.downloads, by_hand) for entry in group for part in entry.holds]
        for check in layout.checks:
            assert check.path == "." or any(Path(check.path).is_relative_to(part) for part in brought), check.path
    for download in source.downloads:
        assert download.terms
        assert download.page


@pytest.mark.parametrize("name", NEVER_FETCHED)
def test_what_is_given_on_request_only_is_never_fetched(name: str) -> None:
    assert source_of(name).downloads == ()


def test_counts_are_those_that_are_published() -> None:
    total = {}
    for name in names():
        for check in source_of(name).layouts[0].checks:
            if isinstance(check, JsonFile):
                groups = check.groups.values()
                total[name] = sum(g.items for g in groups), sum(g.texts or 0 for g in groups)
    assert total == {
        "pascal_sentence": (1000, 0),
        "flickr8k": (8000, 40_000),
        "flickr30k": (31_014, 155_070),
        "mscoco": (123_287, 616_767),
        "cuhk_pedes": (40_206, 80_440),
    }


def test_the_layout_is_the_one_that_is_there(tmp_path: Path) -> None:
    source = source_of("pascal_sentence")
    assert source.layout(tmp_path) == source.layouts[0]
    (tmp_path / "sentence").mkdir()
    assert source.layout(tmp_path) == source.layouts[1]


@pytest.mark.parametrize("karpathy", [True, False])
def test_either_list_of_flickr8k_will_do(tmp_path: Path, karpathy: bool) -> None:
    write_flickr8k(tmp_path, karpathy=karpathy)
    (tmp_path / "Flicker8k_Dataset").rename(tmp_path / "photographs")
    for path in tmp_path.glob("Flickr*.txt") if karpathy else ():
        path.unlink()
    assert Flickr8k(str(tmp_path)).listing("train").captions
    found = findings("flickr8k", tmp_path)
    assert [finding.path for finding in found if finding.fault and finding.state == "missing"] == []
    assert {finding.path: finding.state for finding in found}["pictures"] == "ok"


def test_the_packed_list_of_flickr8k_will_do(tmp_path: Path) -> None:
    (tmp_path / "dataset_flickr8k.json.gz").touch()
    (tmp_path / "Flickr8k.token.txt").touch()
    assert source_of("flickr8k").layout(tmp_path).sign == "dataset_flickr8k.json"


def test_a_json_file_is_there_when_it_is_packed(tmp_path: Path) -> None:
    for name in ("a.json.gz", "b.json", "c.txt.gz"):
        (tmp_path / name).touch()
    assert absent(tmp_path, ["a.json", "b.json", "c.txt", "d.json"]) == ["c.txt", "d.json"]


def test_an_unknown_data_set_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="no data set 'wikipedya' to prepare; there are css3d, cuhk_pedes, fashion"):
        source_of("wikipedya")


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_judged_right(name: str, real_data: Path) -> None:
    root = real_data / name
    if not root.is_dir():
        pytest.skip(f"CMR_DATA has no folder {name}")
    assert [finding.path for finding in findings(name, root) if finding.fault] == REAL[name]


def test_wikipedia_is_whole_without_pictures_and_articles(tmp_path: Path) -> None:
    write_wikipedia(tmp_path)
    found = findings("wikipedia", tmp_path)
    assert {finding.path for finding in found if finding.state == "missing"} == {"images/", "texts/"}
    assert [finding.sentence[:15] for finding in found if finding.fault] == ["has the SHA-256"]  # invented rows


@pytest.mark.parametrize("name", names())
def test_paths_are_those_that_the_loaders_read(name: str, invented_data: Path) -> None:
    """Miniatures have other counts, and not all have pictures, but every file that is needed is in its place."""
    root = invented_data / name
    checks = [check for check in source_of(name).layout(root).checks if not isinstance(check, ListedFiles)]
    found = [finding for check in checks for finding in check.check(root) if not finding.missing]
    assert found
    assert [finding.path for finding in found if finding.fault and finding.state == "missing"] == []
