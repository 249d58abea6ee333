from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.prepare.data_sets import published
from tests.building import ROOT
from tests.cmr_lightning.prepare.server import Site
from tests.cmr_lightning.prepare.toys import LIST, PICTURES, Toys, write_list

TOYS, LISTED_TOYS = (f"{Toys.__module__}.{name}" for name in ("Toys", "ListedToys"))
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


def prepare(root: Path, *options: str, name: str = TOYS) -> int:
    return main(["prepare", name, "--root", str(root), *options])


def test_a_data_set_is_fetched_unpacked_verified_and_noted(
    root: Path, url: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, *FETCHING, url) == 0
    said = capsys.readouterr().out
    assert "Toys are for play." in said
    assert "ok       train: 4 pictures, 20 texts" in said
    assert json.loads((root / "manifest.json").read_text())["folders"] == {"images": {"files": 8, "bytes": 72}}
    assert not (root / ".downloads" / "toys.zip").exists()
    assert prepare(root, *FETCHING, url) == 0
    assert len(site.asked) == 1
    assert prepare(root, "--check") == 0


def test_nothing_is_fetched_before_the_terms_are_accepted(
    root: Path, url: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, "--url", url) == 2
    assert site.asked == []
    assert "Toys are for play. Accept this with --accept-terms." in capsys.readouterr().out


def test_a_file_whose_address_is_unknown_is_asked_for(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(root, "--accept-terms") == 2
    said = capsys.readouterr().out
    assert "Not fetched: toys.zip, whose address is not known; look for toys.zip on toy.example" in said
    assert f"or download it to {root / 'toys.zip'}" in said


def test_an_archive_that_was_put_there_by_hand_is_unpacked_and_kept(root: Path, archive: Path) -> None:
    archive.rename(root / "toys.zip")
    assert prepare(root) == 0
    assert (root / "toys.zip").exists()


def test_a_plain_file_is_fetched_to_its_place(root: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.files["list"] = (root / LIST).read_bytes()
    (root / LIST).unlink()
    assert prepare(root, *FETCHING, f"{LIST}={site.address}/list", name=LISTED_TOYS) == 2
    assert (root / LIST).read_bytes() == site.files["list"]
    assert f"{LIST}: has the SHA-256" in capsys.readouterr().out


def test_an_interrupted_download_is_resumed_by_the_second_run(
    root: Path,
    url: str,
    site: Site,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("cmr_lightning.prepare.download.CHUNK", 200)
        patch.setattr("rich.progress.Progress.advance", interrupt)
        with pytest.raises(SystemExit) as stopped:
            prepare(root, *FETCHING, url)
    assert stopped.value.code == 130
    assert "Interrupted; run the same command again to resume." in capsys.readouterr().err
    assert not (root / "images").exists()
    assert prepare(root, *FETCHING, url) == 0
    assert site.asked == ["", "bytes=200-"]


def test_a_refused_archive_leaves_no_data_set_behind(
    root: Path, site: Site, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../evil.txt", "evil")
    site.files["toys.zip"] = archive.read_bytes()
    assert prepare(root, *FETCHING, f"toys.zip={site.address}/toys.zip") == 2
    assert "its member '../evil.txt' lies outside the folder" in capsys.readouterr().err
    assert not (root / "images").exists()
    assert not (root / "manifest.json").exists()


def test_what_is_missing_is_named_and_the_outdated_manifest_is_removed(
    root: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *FETCHING, url)
    for number in range(7):
        (root / "images" / f"{number}.jpg").unlink()
    capsys.readouterr()
    assert prepare(root) == 2
    said = capsys.readouterr()
    assert "missing  pictures: 7 of the 8 that are listed are missing or empty" in said.out
    assert "images/4.jpg\n           ... and 2 more; --all names them" in said.out
    assert "To get toys.zip again, remove what it brought (images) and run again." in said.out
    assert said.err == f"error: {TOYS} in {root} is not whole: pictures missing or wrong; see above.\n"
    assert not (root / "manifest.json").exists()
    assert prepare(root, "--all") == 2
    assert "images/6.jpg" in capsys.readouterr().out


def test_what_must_be_got_by_hand_is_named_with_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "nowhere"
    assert prepare(root) == 2
    assert f"By hand: write the list into {root}.\n    {root / LIST}\n" in capsys.readouterr().out


def test_what_is_wrong_must_be_got_by_hand_again(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / LIST).write_text("")
    assert prepare(root) == 2
    assert f"By hand: write the list into {root}.\n    {root / LIST}\n" in capsys.readouterr().out


def test_what_was_found_right_is_not_asked_for(
    invented_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (invented_data / "flickr30k/dataset_flickr30k.json").read_bytes()
    (tmp_path / "dataset_flickr30k.json.gz").write_bytes(gzip.compress(content))
    assert prepare(tmp_path, name="flickr30k") == 2
    said = capsys.readouterr().out
    assert "ok       dataset_flickr30k.json.gz: " in said
    assert said.count("By hand: ") == 1
    assert said.endswith(f"<id>.jpg, into {tmp_path}.\n    {tmp_path / 'flickr30k-images'}\n")


def test_check_fetches_and_writes_nothing(root: Path, url: str, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(root, "--check", *FETCHING, url) == 2
    assert site.asked == []
    assert [path.name for path in root.iterdir()] == [LIST]
    assert f"cmr_lightning prepare {TOYS}` says how to get it" in capsys.readouterr().err


def test_check_finds_files_that_changed_since_they_were_verified(
    root: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *FETCHING, url)
    (root / LIST).write_text((root / LIST).read_text() + " ")
    assert prepare(root, "--check") == 2
    assert "wrong    toys.json: has changed since it was verified at" in capsys.readouterr().out


def test_a_folder_that_may_not_be_written_to_is_named(
    root: Path, archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    archive.rename(root / "toys.zip")
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert prepare(root) == 2
    assert f"error: {root} may not be written to; choose another folder with --root." in capsys.readouterr().err


@pytest.mark.parametrize("given", ["toys.zip", "other.zip=https://toy.example/other.zip"])
def test_an_address_must_belong_to_a_file(root: Path, given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(root, "--url", given) == 2
    assert "should be FILE=ADDRESS with a file that may be fetched here: toys.zip" in capsys.readouterr().err


def test_the_root_is_the_one_of_the_experiments(
    root: Path,
    archive: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
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


def test_help_needs_no_torch() -> None:
    code = (
        "import sys\nfrom cmr_lightning.__main__ import main\n"
        "try:\n    main(['prepare', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pytorch_lightning', 'rich', 'datamodules'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
