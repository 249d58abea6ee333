"""`prepare`: download what may be downloaded, say what to do by hand for the rest, verify, write a manifest."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from cmr_lightning.errors import UserError
from cmr_lightning.prepare.disk import AGAIN, disk_errors

if TYPE_CHECKING:  # `--help` answers at once, without torch
    from cmr_lightning.prepare.verification import Finding
    from datamodules.facts import Facts, Origin

_DOWNLOADS = ".downloads"
_SHOWN = 5
_EPILOG = """\
examples:
  python -m cmr_lightning prepare --list
  python -m cmr_lightning prepare wikipedia --accept-terms
  python -m cmr_lightning prepare mscoco --root /data/coco --check

What may be downloaded is downloaded, resumed where it was interrupted, and unpacked; for the rest you are told where to
get it and where to put it. What is there already stays as it is. Then the data set reads its files, their checksums and
the size of each part are compared with what was published, and ROOT/manifest.json is written if nothing is missing. The
exit code is 0 if the data set is whole, else 2.
"""


def main(arguments: Sequence[str]) -> None:
    """Prepare, check or list data sets, as the command and its options say.

    Raises:
        UserError: If something cannot be downloaded, is missing or is not what was published.
    """
    options = _parser().parse_args(arguments[1:])
    from cmr_lightning.prepare import manifest
    from cmr_lightning.prepare.data_sets import data_set, published
    from cmr_lightning.prepare.verification import verify

    if options.list:
        for name, kind in published().items():
            print(f"{name:<22}{kind.facts.title}")
        return
    if not options.dataset:
        raise UserError(f"Name a data set to prepare: {', '.join(published())}.")
    kind = data_set(options.dataset)
    root = (options.root or Path(os.environ.get("CMR_DATA") or "data", kind.facts.name)).expanduser()
    if not options.check:
        try:
            _get(kind.facts, root, _addresses(options.url, kind.facts), accepted=options.accept_terms)
        except KeyboardInterrupt as stop:
            stop.add_note(f"{AGAIN[0].upper()}{AGAIN[1:]}.")
            raise
    findings = [*verify(kind, root), *manifest.changed(root)]
    _report(findings, shown=None if options.all else _SHOWN)
    if not options.check:
        _advise(kind.facts, root, findings)
    _conclude(options.dataset, root, findings, writing=not options.check)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m cmr_lightning prepare",
        description="Get the published files of a data set and verify them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("dataset", nargs="?", help="name of a data set, see --list, or class path of your own")
    parser.add_argument("--root", type=Path, help="its folder; default: $CMR_DATA/<dataset>, or data/<dataset>")
    parser.add_argument("--check", action="store_true", help="only verify; download and write nothing")
    parser.add_argument("--list", action="store_true", help="list the data sets")
    parser.add_argument("--all", action="store_true", help=f"name all missing pictures, not the first {_SHOWN}")
    parser.add_argument("--accept-terms", action="store_true", help="accept the terms that a download is said to have")
    parser.add_argument(
        "--url",
        action="append",
        default=[],
        metavar="FILE=ADDRESS",
        help="download a file from this address, e.g. of a mirror; may be given several times",
    )
    return parser


def _addresses(given: Sequence[str], facts: Facts) -> dict[str, str]:
    """Return the address of each file that may be downloaded; the user's come before those that are known."""
    addresses = {origin.file: origin.url for origin in facts.origins if origin.file}
    known = ", ".join(addresses) or "none"
    for pair in given:
        name, _, url = pair.partition("=")
        if name not in addresses or not url:
            raise UserError(f"--url {pair} should be FILE=ADDRESS with a file that may be fetched here: {known}.")
        addresses[name] = url
    return addresses


def _get(facts: Facts, root: Path, addresses: Mapping[str, str], *, accepted: bool) -> None:
    """Download what is missing and may be downloaded."""
    from datamodules.facts import absent

    print(f"{facts.title}\nTerms: {facts.terms}\n")
    for origin in facts.origins:
        if origin.file and absent(root, origin.holds):
            _get_file(origin, root, addresses[origin.file], facts.terms, accepted=accepted)


def _get_file(origin: Origin, root: Path, url: str, terms: str, *, accepted: bool) -> None:
    """Download one file, unless it was put into the root by hand, and unpack it."""
    from cmr_lightning.prepare.download import fetch
    from cmr_lightning.prepare.unpack import is_archive, unpack

    packed, placed = is_archive(origin.file), root / origin.file
    if packed and placed.is_file():
        unpack(placed, root, origin.holds)
    elif not url:
        print(
            f"Not fetched: {origin.file}, whose address is not known; {origin.how} into {root}. Give its address with "
            f"--url {origin.file}=ADDRESS, or download it to {placed}, and run `prepare` again.\n"
        )
    elif not accepted:
        print(f"Not fetched: {origin.file} ({url}). {terms} Accept this with --accept-terms.\n")
    else:
        target = root / _DOWNLOADS / origin.file if packed else root / origin.holds[0]
        fetch(url, target, origin.size, origin.sha256)
        if packed:
            unpack(target, root, origin.holds)
            target.unlink()


def _report(findings: Sequence[Finding], shown: int | None) -> None:
    """Print what was found, with the first `shown` missing pictures of each part; None: all."""
    for finding in findings:
        need = f" (only needed for {finding.only_for})" if finding.only_for and finding.state != "ok" else ""
        print(f"{finding.state:<9}{finding.subject}: {finding.sentence}{need}")
        for name in finding.missing[:shown]:
            print(f"           {name}")
        if shown is not None and len(finding.missing) > shown:
            print(f"           ... and {len(finding.missing) - shown:,} more; --all names them")


def _advise(facts: Facts, root: Path, findings: Sequence[Finding]) -> None:
    """Print how to get what is missing or wrong."""
    from datamodules.facts import absent

    whole = not any(finding.fault for finding in findings)
    poor = {finding.subject.removesuffix(".gz") for finding in findings if finding.state != "ok"}
    missing = {PurePosixPath(name) for finding in findings for name in finding.missing}
    for origin in facts.layout(root):
        gone = absent(root, origin.holds)
        folders = {name for name in origin.holds if any(path.is_relative_to(name) for path in missing)}
        wanted = [name for name in origin.holds if name in poor | folders or (name in gone and not whole)]
        if wanted and not origin.file:
            print(f"\nBy hand: {origin.how} into {root}.", *(f"    {root / name}" for name in wanted), sep="\n")
        elif wanted and not gone:
            print(f"\nTo get {origin.file} again, remove what it brought ({', '.join(origin.holds)}) and run again.")


def _conclude(dataset: str, root: Path, findings: Sequence[Finding], *, writing: bool) -> None:
    """Write the manifest of a whole data set, or refuse one that is not."""
    from cmr_lightning.prepare import manifest

    with disk_errors(root):
        if faults := [finding.subject for finding in findings if finding.fault]:
            if writing:
                (root / manifest.NAME).unlink(missing_ok=True)  # what it says is not true any more
            then = "see above" if writing else f"`python -m cmr_lightning prepare {dataset}` says how to get it"
            raise UserError(f"{dataset} in {root} is not whole: {', '.join(faults)} missing or wrong; {then}.")
        print(f"\n{dataset} in {root} is whole.")
        if writing:
            print(f"Written: {manifest.write(root, dataset, findings)}")
