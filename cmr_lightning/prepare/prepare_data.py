"""`prepare`: fetch what may be fetched, say what to do by hand for the rest, verify, write a manifest."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from cmr_lightning.errors import UserError
from cmr_lightning.prepare import manifest
from cmr_lightning.prepare.checks import ANYWHERE, Finding
from cmr_lightning.prepare.disk import disk_errors
from cmr_lightning.prepare.source import ByHand, Download, Layout, Source, absent, names, source_of

_DOWNLOADS = ".downloads"
_SHOWN = 5
_EPILOG = """\
examples:
  python -m cmr_lightning prepare --list
  python -m cmr_lightning prepare wikipedia --accept-terms
  python -m cmr_lightning prepare mscoco --root /data/coco --check

What may be fetched is fetched, goes on where it was interrupted, and is unpacked; what may not is named, with the page
to get it from and the place to put it. What is there already stays as it is. Then files are counted and checksums
compared, and ROOT/manifest.json is written if nothing is missing. The exit code is 0 if the data set is whole, else 2.
"""


def main(arguments: Sequence[str]) -> None:
    """Prepare, check or list data sets.

    Args:
        arguments: The command, and its options.

    Raises:
        UserError: If something cannot be fetched, is missing or is not what was published.
    """
    options = _parser().parse_args(arguments[1:])
    if options.list:
        for name in names():
            print(f"{name:<17}{source_of(name).title}")
        return
    if not options.dataset:
        raise UserError(f"Name a data set to prepare: {', '.join(names())}.")
    source = source_of(options.dataset)
    root = options.root or Path(os.environ.get("CMR_DATA") or "data", options.dataset)
    root = root.expanduser()
    if not options.check:
        try:
            _get(source, root, _addresses(options.url, source), accepted=options.accept_terms)
        except KeyboardInterrupt:
            print("\nInterrupted; run the same command again, it goes on from there.", file=sys.stderr)
            raise SystemExit(130) from None
    layout = source.layout(root)
    findings = _look(layout, root, shown=None if options.all else _SHOWN)
    if not options.check:
        _advise(source, (*layout.by_hand, *source.by_hand), root, findings)
    _conclude(options.dataset, root, findings, writing=not options.check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning prepare",
        description="Get the published files of a data set and verify them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", nargs="?", help="name of a data set, see --list")
    parser.add_argument("--root", type=Path, help="its folder; default: $CMR_DATA/<dataset>, or data/<dataset>")
    parser.add_argument("--check", action="store_true", help="only verify; fetch and write nothing")
    parser.add_argument("--list", action="store_true", help="list the data sets")
    parser.add_argument("--all", action="store_true", help=f"name all missing pictures, not the first {_SHOWN}")
    parser.add_argument("--accept-terms", action="store_true", help="accept the terms that a download is said to have")
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="FILE=ADDRESS",
        help="fetch a file from this address, e.g. of a mirror; may be given several times",
    )
    return parser


def _addresses(given: Sequence[str], source: Source) -> dict[str, str]:
    """Address of each file to fetch, those of the user before those that are known."""
    known = {download.name: download.url for download in source.downloads}
    for pair in given:
        name, _, url = pair.partition("=")
        if name not in known or not url:
            files = ", ".join(known) or "none"
            raise UserError(f"--url {pair} should be FILE=ADDRESS with a file that may be fetched here: {files}.")
        known[name] = url
    return known


def _get(source: Source, root: Path, addresses: Mapping[str, str], *, accepted: bool) -> None:
    """Fetch what is missing and may be fetched."""
    print(f"{source.title}\nTerms: {source.terms}\n")
    for download in source.downloads:
        if absent(root, download.holds):
            _get_download(download, root, addresses[download.name], accepted=accepted)


def _get_download(download: Download, root: Path, url: str, *, accepted: bool) -> None:
    """Fetch one file, unless it was put into the root by hand, and unpack it."""
    from cmr_lightning.prepare.download import fetch  # imports rich, which a check does not need
    from cmr_lightning.prepare.unpack import is_archive, unpack

    packed, placed = is_archive(download.name), root / download.name
    if packed and placed.is_file():
        unpack(placed, root, download.holds)
        return
    if not url:
        print(
            f"Not fetched: {download.name}, whose address is not known. Look for it on {download.page}; give its "
            f"address with --url {download.name}=ADDRESS, or download it to {placed}, and run `prepare` again.\n"
        )
        return
    if not accepted:
        print(f"Not fetched: {download.name} ({url}). {download.terms} Accept this with --accept-terms.\n")
        return
    target = root / _DOWNLOADS / download.name if packed else root / download.holds[0]
    fetch(url, target, download.size, download.sha256)
    if packed:
        unpack(target, root, download.holds)
        target.unlink()


def _advise(source: Source, by_hand: Sequence[ByHand], root: Path, findings: Sequence[Finding]) -> None:
    """Say how to get what is missing or wrong."""
    whole = not any(finding.fault for finding in findings)
    for part in by_hand:
        if _is_wanted(part, root, findings):
            places = absent(root, part.holds) or part.holds
            print("\n".join([f"\nBy hand: {part.how}", *(f"    {root / name}" for name in places)]))
    for download in source.downloads:
        if not whole and not absent(root, download.holds):
            print(f"\nTo get {download.name} anew, remove what it brought ({', '.join(download.holds)}) and run again.")


def _is_wanted(part: ByHand, root: Path, findings: Sequence[Finding]) -> bool:
    """Whether something that a part brings is missing or wrong, or not there where that was not checked."""
    states = {finding.state for finding in findings if _is_of(part, finding.path)}
    states = states or {finding.state for finding in findings if finding.path == ANYWHERE}
    return bool(states - {"ok"} if states else absent(root, part.holds))


def _is_of(part: ByHand, found: str) -> bool:
    """Whether a file or folder is one that a part brings, or lies in one, or around one."""
    path = PurePosixPath(found.removesuffix(".gz"))
    return any(path.is_relative_to(name) or PurePosixPath(name).is_relative_to(path) for name in part.holds)


def _look(layout: Layout, root: Path, shown: int | None) -> list[Finding]:
    """Check everything and print what was found, naming so many missing files of each list; None: all."""
    findings = [finding for check in layout.checks for finding in check.check(root)]
    findings += manifest.changed(root)
    for finding in findings:
        need = f" (only needed for {finding.only_for})" if finding.only_for and finding.state != "ok" else ""
        print(f"{finding.state:<9}{finding.path}: {finding.sentence}{need}")
        for name in finding.missing[:shown]:
            print(f"           {name}")
        if shown is not None and len(finding.missing) > shown:
            print(f"           ... and {len(finding.missing) - shown:,} more; --all names them")
    return findings


def _conclude(dataset: str, root: Path, findings: Sequence[Finding], *, writing: bool) -> None:
    faults = [finding.path for finding in findings if finding.fault]
    if faults:
        if writing:
            with disk_errors(root):
                (root / manifest.NAME).unlink(missing_ok=True)  # what it says is not true any more
        then = "see above" if writing else f"`python -m cmr_lightning prepare {dataset}` says how to get it"
        raise UserError(f"{dataset} in {root} is not whole: {', '.join(faults)} missing or wrong; {then}.")
    print(f"\n{dataset} in {root} is whole.")
    if writing:
        with disk_errors(root):
            print(f"Written: {manifest.write(root, dataset, findings)}")
