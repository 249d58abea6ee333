"""`manifest.json`: what a data set's folder held when it was verified."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cmr_lightning.errors import UserError
from cmr_lightning.files.checksum import sha256_of
from cmr_lightning.files.whole_file import write_whole
from cmr_lightning.prepare.verification import Finding

NAME = "manifest.json"
_SMALL = 64 << 20
"""Bytes up to which files get a checksum."""


def write(root: Path, dataset: str, findings: Sequence[Finding]) -> Path:
    """Write the manifest of a folder that was just verified.

    Files that a finding names are listed one by one, with a checksum up to 64 MiB; all others are summed up by their
    folder in the root.
    """
    files: dict[str, dict[str, Any]] = {}
    for finding in findings:
        path = root / finding.subject
        if finding.state == "ok" and path.is_file():
            size = path.stat().st_size
            files[finding.subject] = {"bytes": size} | ({"sha256": sha256_of(path)} if size <= _SMALL else {})
    manifest = {
        "dataset": dataset,
        "verified": datetime.now(UTC).isoformat(timespec="seconds"),
        "files": files,
        "folders": {path.name: _summed(path) for path in sorted(root.glob("[!.]*/"))},
        "counts": {finding.subject: dict(finding.counts) for finding in findings if finding.state == "ok"},
    }
    target = root / NAME
    write_whole(target, json.dumps(manifest, indent=1) + "\n")
    return target


def changed(root: Path) -> list[Finding]:
    """Find files that have changed since the manifest was written; none without a manifest.

    Raises:
        UserError: If the manifest cannot be read.
    """
    path = root / NAME
    if not path.is_file():
        return []
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        then, files = manifest["verified"], manifest["files"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is not a manifest that `prepare` wrote; remove it and run `prepare` again.") from error
    sentence = f"has changed since it was verified at {then}"
    return [Finding(name, "wrong", sentence) for name, entry in files.items() if not _unchanged(root / name, entry)]


def _unchanged(path: Path, entry: dict[str, Any]) -> bool:
    if not path.is_file():
        return True  # whether it may be missing is for the verification to say
    return path.stat().st_size == entry["bytes"] and ("sha256" not in entry or sha256_of(path) == entry["sha256"])


def _summed(folder: Path) -> dict[str, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return {"files": len(sizes), "bytes": sum(sizes)}
