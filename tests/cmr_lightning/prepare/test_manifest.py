import hashlib
import json
from datetime import datetime
from pathlib import Path

import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.prepare import manifest
from cmr_lightning.prepare.verification import Finding


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "list.txt").write_text("a.jpg\nb.jpg\n")
    (tmp_path / "big.bin").write_bytes(b"0" * 100)
    for folder in ("images", ".downloads"):
        (tmp_path / folder).mkdir()
        for name in ("a.jpg", "b.jpg"):
            (tmp_path / folder / name).write_bytes(b"12345")
    return tmp_path


def write(root: Path) -> dict[str, object]:
    findings = [
        Finding("list.txt", "ok", "12 bytes", {"bytes": 12}),
        Finding("big.bin", "ok", "100 bytes", {"bytes": 100}),
        Finding("gone.txt", "missing", "missing", only_for="nobody"),
        Finding("train", "ok", "2 pictures", {"pictures": 2}),
    ]
    path = manifest.write(root, "toy", findings)
    assert path == root / "manifest.json"
    return json.loads(path.read_text())


def test_manifest_says_what_was_there(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "_SMALL", 99)
    written = write(root)
    assert datetime.fromisoformat(str(written.pop("verified"))).tzinfo is not None
    small = {"bytes": 12, "sha256": hashlib.sha256(b"a.jpg\nb.jpg\n").hexdigest()}
    assert written == {
        "dataset": "toy",
        "files": {"list.txt": small, "big.bin": {"bytes": 100}},
        "folders": {"images": {"files": 2, "bytes": 10}},
        "counts": {"list.txt": {"bytes": 12}, "big.bin": {"bytes": 100}, "train": {"pictures": 2}},
    }


def test_files_that_changed_since_are_found(root: Path) -> None:
    assert manifest.changed(root) == []
    write(root)
    assert manifest.changed(root) == []
    (root / "list.txt").write_text("b.jpg\na.jpg\n")
    (root / "big.bin").unlink()
    (finding,) = manifest.changed(root)
    assert (finding.subject, finding.state) == ("list.txt", "wrong")
    assert finding.sentence.startswith("has changed since it was verified at 20")


@pytest.mark.parametrize("content", ["", "[]", "{}"])
def test_a_file_that_is_no_manifest_is_named(root: Path, content: str) -> None:
    (root / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json is not a manifest that `prepare` wrote"):
        manifest.changed(root)
