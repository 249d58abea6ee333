from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from cmr_lightning.__main__ import main
from cmr_lightning.prepare import prepare_data as command
from cmr_lightning.prepare.checks import Counts, JsonFile, LinesFile, ListedFiles
from cmr_lightning.prepare.source import ByHand, Download, Layout, Source, names
from tests.building import ROOT
from tests.cmr_lightning.prepare.server import Site

PICTURES = 8
TOY = Source(
    title="Toy (nobody, never)",
    terms="Toys are for play.",
    layouts=(
        Layout(
            "list.txt",
            (LinesFile("list.txt", PICTURES), ListedFiles("images", ("list.txt",), "images/{0}")),
            (ByHand(("list.txt",), "write the list."),),
        ),
    ),
    downloads=(Download("toy.zip", ("images",), "toy.example", "Toys break."),),
)
FETCHING = ["--accept-terms", "--url"]


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    monkeypatch.setattr(command, "names", lambda: ["toy"])
    monkeypatch.setattr(command, "source_of", lambda name: TOY)
    return TOY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "list.txt").write_text("".join(f"{number}.jpg\n" for number in range(PICTURES)))
    return folder


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "toy.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number in range(PICTURES):
            file.writestr(f"images/{number}.jpg", f"picture {number}")
    return path


@pytest.fixture
def url(site: Site, archive: Path) -> str:
    site.files["toy.zip"] = archive.read_bytes()
    return f"toy.zip={site.address}/toy.zip"


def prepare(root: Path, *options: str) -> int:
    return main(["prepare", "toy", "--root", str(root), *options])


def test_a_data_set_is_fetched_unpacked_verified_and_noted(
    source: Source, root: Path, url: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, *FETCHING, url) == 0
    said = capsys.readouterr().out
    assert "Toys are for play." in said
    assert f"ok       images/: all {PICTURES} files that are listed" in said
    assert json.loads((root / "manifest.json").read_text())["folders"] == {"images": {"files": 8, "bytes": 72}}
    assert not (root / ".downloads" / "toy.zip").exists()
    assert prepare(root, *FETCHING, url) == 0
    assert len(site.asked) == 1
    assert prepare(root, "--check") == 0


def test_nothing_is_fetched_before_the_terms_are_accepted(
    source: Source, root: Path, url: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, "--url", url) == 2
    assert site.asked == []
    assert "Toys break. Accept this with --accept-terms." in capsys.readouterr().out


def test_a_file_whose_address_is_unknown_is_asked_for(
    source: Source, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, "--accept-terms") == 2
    said = capsys.readouterr().out
    assert "Not fetched: toy.zip, whose address is not known. Look for it on toy.example" in said
    assert f"or download it to {root / 'toy.zip'}" in said


def test_an_archive_that_was_put_there_by_hand_is_unpacked_and_kept(source: Source, root: Path, archive: Path) -> None:
    archive.rename(root / "toy.zip")
    assert prepare(root) == 0
    assert (root / "toy.zip").exists()


def test_a_plain_file_is_fetched_to_its_place(
    source: Source, root: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files["list"] = (root / "list.txt").read_bytes()
    (root / "list.txt").unlink()
    queries = Download("list", ("lists/list.txt",), "toy.example", "Toys break.", f"{site.address}/list")
    plain = replace(TOY, downloads=(queries,), layouts=(Layout("lists", (LinesFile("lists/list.txt", PICTURES),)),))
    monkeypatch.setattr(command, "source_of", lambda name: plain)
    assert prepare(root, "--accept-terms") == 0
    assert (root / "lists" / "list.txt").read_bytes() == site.files["list"]


def test_an_interrupted_download_goes_on_in_the_second_run(
    source: Source,
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
    assert "Interrupted; run the same command again, it goes on from there." in capsys.readouterr().err
    assert not (root / "images").exists()
    assert prepare(root, *FETCHING, url) == 0
    assert site.asked == ["", "bytes=200-"]


def test_a_refused_archive_leaves_no_data_set_behind(
    source: Source, root: Path, site: Site, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("../evil.txt", "evil")
    site.files["toy.zip"] = archive.read_bytes()
    assert prepare(root, *FETCHING, f"toy.zip={site.address}/toy.zip") == 2
    assert "its member '../evil.txt' lies outside the folder" in capsys.readouterr().err
    assert not (root / "images").exists()
    assert not (root / "manifest.json").exists()


def test_what_is_missing_is_named_and_the_manifest_that_is_not_true_any_more_is_removed(
    source: Source, root: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *FETCHING, url)
    for number in range(7):
        (root / "images" / f"{number}.jpg").unlink()
    capsys.readouterr()
    assert prepare(root) == 2
    said = capsys.readouterr()
    assert "missing  images/: 7 of the 8 files that are listed are missing or empty" in said.out
    assert "images/4.jpg\n           ... and 2 more; --all names them" in said.out
    assert "To get toy.zip anew, remove what it brought (images) and run again." in said.out
    assert said.err == f"error: toy in {root} is not whole: images/ missing or wrong; see above.\n"
    assert not (root / "manifest.json").exists()
    assert prepare(root, "--all") == 2
    assert "images/6.jpg" in capsys.readouterr().out


def test_what_must_be_got_by_hand_is_said_with_its_place(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(tmp_path / "nowhere") == 2
    assert f"By hand: write the list.\n    {tmp_path / 'nowhere' / 'list.txt'}\n" in capsys.readouterr().out


def test_what_is_wrong_must_be_got_by_hand_again(
    source: Source, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "list.txt").write_text("0.jpg\n")
    assert prepare(root) == 2
    assert f"By hand: write the list.\n    {root / 'list.txt'}\n" in capsys.readouterr().out


def test_what_was_found_right_is_not_asked_for(
    source: Source, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prepare(root) == 2
    assert "By hand" not in capsys.readouterr().out
    (root / "list.json.gz").write_bytes(gzip.compress(b'[{"part": "train", "texts": ["a"], "file": "0.jpg"}]'))
    listed = JsonFile(
        "list.json", {"train": Counts(1, 1)}, group_by="part", texts_in="texts", images="images/{file}", folder="images"
    )
    by_hand = (ByHand(("list.json",), "write the list."), ByHand(("images",), "draw the pictures."))
    packed = replace(TOY, layouts=(Layout("list.json", (listed,)),), downloads=(), by_hand=by_hand)
    monkeypatch.setattr(command, "source_of", lambda name: packed)
    assert prepare(root) == 2
    said = capsys.readouterr().out
    assert "ok       list.json.gz: 1 images" in said
    assert said.endswith(f"\nBy hand: draw the pictures.\n    {root / 'images'}\n")
    assert "write the list" not in said


def test_check_fetches_and_writes_nothing(
    source: Source, root: Path, url: str, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, "--check", *FETCHING, url) == 2
    assert site.asked == []
    assert [path.name for path in root.iterdir()] == ["list.txt"]
    assert "`python -m cmr_lightning prepare toy` says how to get it" in capsys.readouterr().err


def test_check_finds_files_that_changed_since_they_were_verified(
    source: Source, root: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(root, *FETCHING, url)
    lines = (root / "list.txt").read_text().splitlines()
    (root / "list.txt").write_text("\n".join(reversed(lines)))
    assert prepare(root, "--check") == 2
    assert "wrong    list.txt: is not any more the file that was verified at" in capsys.readouterr().out


def test_a_folder_that_may_not_be_written_to_is_named(
    source: Source, root: Path, archive: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    archive.rename(root / "toy.zip")
    monkeypatch.setattr(Path, "mkdir", refuse)
    assert prepare(root) == 2
    assert f"error: {root} may not be written to; choose another folder with --root." in capsys.readouterr().err


@pytest.mark.parametrize("given", ["toy.zip", "other.zip=https://toy.example/other.zip"])
def test_an_address_must_belong_to_a_file(
    source: Source, root: Path, given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, "--url", given) == 2
    assert "should be FILE=ADDRESS with a file that may be fetched here: toy.zip" in capsys.readouterr().err


def test_the_root_is_the_one_of_the_experiments(
    source: Source,
    root: Path,
    archive: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CMR_DATA", str(root.parent))
    main(["prepare", "toy", "--check"])
    assert f"toy in {root} is not whole" in capsys.readouterr().err
    monkeypatch.delenv("CMR_DATA")
    main(["prepare", "toy", "--check"])
    assert f"toy in {Path('data', 'toy')} is not whole" in capsys.readouterr().err


def test_list_names_every_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prepare", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names()


def test_no_data_set_and_an_unknown_one_are_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["wikipedya"]):
        assert main(["prepare", *arguments]) == 2
        known = capsys.readouterr().err
        assert re.search(r"cuhk_pedes,.* flickr30k, flickr8k,.* wikipedia", known), known


@pytest.mark.parametrize("options", [["--help"], ["--list"], ["nus_wide", "--check"], ["flickr30k", "--check"]])
def test_prepare_starts_without_torch(options: list[str], tmp_path: Path) -> None:
    code = (
        "import sys\nfrom cmr_lightning.__main__ import main\n"
        f"try:\n    main(['prepare', '--root', {str(tmp_path)!r}, *{options!r}])\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'scipy', 'pytorch_lightning', 'rich', 'datamodules'} & set(sys.modules)\n"
        "sys.exit(f'imports {heavy}' if heavy else 0)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
