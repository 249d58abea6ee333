import gzip
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.prepare.data_sets import published
from tests.cmr_lightning.prepare.server import Site
from tests.cmr_lightning.prepare.toys import LIST, PICTURES, Toys, write_list

TOYS, LISTED_TOYS = (f"{Toys.__module__}.{name}" for name in ("Toys", "ListedToys"))
Prepare = Callable[..., str]
FETCHING = ["--accept-terms", "--url"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "toys"
    write_list(folder)
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "toys.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in PICTURES:
            file.writestr(f"images/{name}", f"picture {name[0]}")
    return path


@pytest.fixture
def url(site: Site, archive: Path) -> str:
    site.files["toys.zip"] = archive.read_bytes()
    return f"toys.zip={site.address}/toys.zip"


@pytest.fixture
def prepare(root: Path, capsys: pytest.CaptureFixture[str]) -> Prepare:
    """Runs the command, which must end with a code; gives what it printed, with its error behind it."""

    def run(*options: str, name: str = TOYS, root: Path = root, code: int = 0) -> str:
        assert main(["prepare", name, "--root", str(root), *options]) == code
        return "".join(capsys.readouterr())

    return run


def test_a_data_set_is_fetched_unpacked_verified_and_noted(prepare: Prepare, root: Path, url: str, site: Site) -> None:
    said = prepare(*FETCHING, url)
    assert "Toys are for play." in said
    assert "ok       train: 4 pictures, 20 texts" in said
    assert json.loads((root / "manifest.json").read_text())["folders"] == {"images": {"files": 8, "bytes": 72}}
    assert not (root / ".downloads" / "toys.zip").exists()
    prepare(*FETCHING, url)
    assert len(site.asked) == 1
    prepare("--check")


def test_nothing_is_fetched_before_the_terms_are_accepted(prepare: Prepare, url: str, site: Site) -> None:
    said = prepare("--url", url, code=2)
    assert site.asked == []
    assert "Toys are for play. Accept this with --accept-terms." in said


def test_a_file_whose_address_is_unknown_is_asked_for(prepare: Prepare, root: Path) -> None:
    said = prepare("--accept-terms", code=2)
    assert "Not fetched: toys.zip, whose address is not known; look for toys.zip on toy.example" in said
    assert f"or download it to {root / 'toys.zip'}" in said


def test_an_archive_put_there_by_hand_is_unpacked_and_kept(prepare: Prepare, root: Path, archive: Path) -> None:
    archive.rename(root / "toys.zip")
    prepare()
    assert (root / "toys.zip").exists()


def test_a_plain_file_is_fetched_to_its_place(prepare: Prepare, root: Path, site: Site) -> None:
    site.files["list"] = (root / LIST).read_bytes()
    (root / LIST).unlink()
    said = prepare(*FETCHING, f"{LIST}={site.address}/list", name=LISTED_TOYS, code=2)
    assert (root / LIST).read_bytes() == site.files["list"]
    assert f"{LIST}: has the SHA-256" in said


def test_an_interrupted_download_is_resumed_by_the_second_run(
    prepare: Prepare, root: Path, url: str, site: Site, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("cmr_lightning.prepare.download.CHUNK", 200)
        patch.setattr("rich.progress.Progress.advance", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(SystemExit, match="130"):
            prepare(*FETCHING, url)
    assert "Stopped by Ctrl-C. Run the same command again to resume." in capsys.readouterr().err
    assert not (root / "images").exists()
    prepare(*FETCHING, url)
    assert site.asked == ["", "bytes=200-"]


def test_a_refused_archive_leaves_no_data_set_behind(prepare: Prepare, root: Path, site: Site, archive: Path) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../evil.txt", "evil")
    site.files["toys.zip"] = archive.read_bytes()
    said = prepare(*FETCHING, f"toys.zip={site.address}/toys.zip", code=2)
    assert "its member '../evil.txt' lies outside the folder" in said
    assert not (root / "images").exists()
    assert not (root / "manifest.json").exists()


def test_what_is_missing_is_named_and_the_outdated_manifest_is_removed(prepare: Prepare, root: Path, url: str) -> None:
    prepare(*FETCHING, url)
    for number in range(7):
        (root / "images" / f"{number}.jpg").unlink()
    said = prepare(code=2)
    assert "missing  pictures: 7 of the 8 that are listed are missing or empty" in said
    assert "images/4.jpg\n           ... and 2 more; --all names them" in said
    assert "To get toys.zip again, remove what it brought (images) and run again." in said
    assert said.endswith(f"error: {TOYS} in {root} is not whole: pictures missing or wrong; see above.\n")
    assert not (root / "manifest.json").exists()
    assert "images/6.jpg" in prepare("--all", code=2)


@pytest.mark.parametrize("there", [False, True])
def test_what_is_missing_or_wrong_must_be_got_by_hand(prepare: Prepare, root: Path, there: bool) -> None:
    (root / LIST).write_text("") if there else shutil.rmtree(root)
    assert f"By hand: write the list into {root}.\n    {root / LIST}\n" in prepare(code=2)


def test_what_was_found_right_is_not_asked_for(prepare: Prepare, invented_data: Path, tmp_path: Path) -> None:
    content = (invented_data / "flickr30k/dataset_flickr30k.json").read_bytes()
    (tmp_path / "dataset_flickr30k.json.gz").write_bytes(gzip.compress(content))
    said = prepare(name="flickr30k", root=tmp_path, code=2)
    assert "ok       dataset_flickr30k.json.gz: " in said
    assert said.count("By hand: ") == 1
    assert f"<id>.jpg, into {tmp_path}.\n    {tmp_path / 'flickr30k-images'}\nerror: " in said


def test_check_fetches_and_writes_nothing(prepare: Prepare, root: Path, url: str, site: Site) -> None:
    said = prepare("--check", *FETCHING, url, code=2)
    assert site.asked == []
    assert [path.name for path in root.iterdir()] == [LIST]
    assert f"cmr_lightning prepare {TOYS}` says how to get it" in said


def test_check_finds_files_that_changed_since_they_were_verified(prepare: Prepare, root: Path, url: str) -> None:
    prepare(*FETCHING, url)
    (root / LIST).write_text((root / LIST).read_text() + " ")
    assert "wrong    toys.json: has changed since it was verified at" in prepare("--check", code=2)


def test_closed_folder_is_named(prepare: Prepare, root: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.rename(root / "toys.zip")
    monkeypatch.setattr(Path, "mkdir", Mock(side_effect=PermissionError(13, "Permission denied")))
    assert f"error: {root} may not be written to; choose another folder with --root." in prepare(code=2)


@pytest.mark.parametrize("given", ["toys.zip", "other.zip=https://toy.example/other.zip"])
def test_an_address_must_belong_to_a_file(prepare: Prepare, given: str) -> None:
    assert "should be FILE=ADDRESS with a file that may be fetched here: toys.zip" in prepare("--url", given, code=2)


def test_the_root_is_that_of_the_experiments(root: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMR_DATA", str(root.parent))
    main(["prepare", TOYS, "--check"])
    assert f"{TOYS} in {root} is not whole" in capsys.readouterr().err
    monkeypatch.delenv("CMR_DATA")
    main(["prepare", TOYS, "--check"])
    assert f"{TOYS} in {Path('data', 'toys')} is not whole" in capsys.readouterr().err


def test_list_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(published())


def test_no_data_set_and_an_unknown_one_are_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["wikipedya"]):
        assert main(["prepare", *arguments]) == 2
        known = capsys.readouterr().err
        assert re.search(r"cuhk_pedes,.* flickr30k, flickr8k,.* wikipedia", known), known
