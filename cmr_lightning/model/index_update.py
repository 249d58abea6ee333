"""Making an index, or bringing it up to date: what is new or has changed is embedded, and what is gone is dropped."""

import hashlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.errors import UserError, system_reason
from cmr_lightning.files.checksum import sha256_of, short_checksum
from cmr_lightning.files.file_lock import locked
from cmr_lightning.files.whole_file import whole_file
from cmr_lightning.model.index_files import (
    APPROXIMATE,
    FORMAT,
    KINDS,
    MANIFEST,
    THUMBNAILS,
    Damaged,
    Gallery,
    Item,
    Kind,
    Manifest,
    ModelFacts,
    Shard,
    read_items,
    read_manifest,
    thumbnail_file,
)
from cmr_lightning.model.index_items import Candidate, IndexItems
from cmr_lightning.model.known_rows import KnownRows, Place
from cmr_lightning.model.preprocessing import open_picture
from cmr_lightning.model.thumbnails import OpenedPictures, thumbnail, write_thumbnail
from datamodules.reading.picture_files import Orientation

_ROWS = 4096
"""Items of a shard: what is embedded anew after a kill, at most, and some MB of points."""


class Embedder(Protocol):
    """What an index needs of a model, see `Model`."""

    source: str

    @property
    def method(self) -> str:
        """Its method."""

    @property
    def dim(self) -> int:
        """Numbers of a point."""

    @property
    def distance(self) -> str:
        """How points are compared."""

    @property
    def checksum(self) -> str:
        """What tells it from other models."""

    @property
    def composed(self) -> bool:
        """Whether its texts are half a query, and no items."""

    @property
    def preprocessing(self) -> dict[str, str]:
        """How it prepares pictures and texts, in words."""

    @property
    def orientation(self) -> Orientation:
        """How it sees pictures."""

    def embed_texts(self, texts: Any) -> NDArray[np.float32]:
        """Embed texts, or features."""

    def embed_images(self, images: Any) -> NDArray[np.float32]:
        """Embed pictures, or features."""


@dataclass
class Changes:
    """What an update has done.

    Attributes:
        embedded: Items that were embedded.
        kept: Items whose points were there.
        dropped: Items of the index before that are gone, or were replaced.
        damaged: Pictures that cannot be read.
    """

    embedded: int = 0
    kept: int = 0
    dropped: int = 0
    damaged: list[Damaged] = field(default_factory=list)


def update_index(folder: Path, items: IndexItems, model: Embedder) -> Changes:
    """Make an index of items, or bring it up to date.

    Args:
        folder: Folder of the index.
        items: What it shall hold in the end, and nothing else.
        model: What embeds them.

    Raises:
        UserError: If the folder holds an index of another model, another process works on it, no item can be
            embedded, or nothing can be written.
    """
    try:
        with locked(folder / ".lock"):
            return _update(folder, items, model)
    except OSError as error:
        if error.filename is None:
            raise
        raise UserError(
            f"{error.filename} cannot be read or written: {system_reason(error)}; the same command continues."
        ) from error


def _update(folder: Path, items: IndexItems, model: Embedder) -> Changes:
    before = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if before is not None:
        refuse_other_model(before, model, folder)
    changes = Changes()
    galleries: dict[Kind, Gallery] = {}
    for kind in KINDS:
        listed = items.pictures() if kind == "images" else iter(()) if model.composed else items.texts()
        shards = tuple(_shards(folder, kind, listed, model, changes))
        if shards:
            earlier = None if before is None else before.galleries.get(kind)
            unchanged = earlier is not None and earlier.shards == shards
            galleries[kind] = earlier if earlier is not None and unchanged else Gallery(shards)
    if not galleries:
        reason = (
            f"the first of {len(changes.damaged)}: {changes.damaged[0].reason}" if changes.damaged else "none is there"
        )
        raise UserError(f"There is nothing to index, neither pictures nor texts ({reason.rstrip('.')}).")
    facts = ModelFacts(model.source, model.method, model.checksum, model.preprocessing)
    Manifest(FORMAT, facts, _distance(model), model.dim, items.root, galleries, tuple(changes.damaged)).write(folder)
    count_before = 0 if before is None else sum(gallery.count for gallery in before.galleries.values())
    changes.dropped = max(0, count_before - changes.kept)
    _sweep(folder, galleries)
    return changes


def refuse_other_model(manifest: Manifest, model: Embedder, folder: Path) -> None:
    """Raise UserError if an index was made by another model than this one."""
    made = manifest.model
    if made.checksum != model.checksum:
        raise UserError(
            f"{folder} is the index of another model: {made.method} with weights {made.checksum} made it, and "
            f"{model.method} here has {model.checksum}; give that model, or another folder for the index."
        )


def _distance(model: Embedder) -> Literal["cos", "l2"]:
    return "l2" if model.distance == "l2" else "cos"


# Shards --------------------------------------------------------------------------------------------------------------


def _shards(
    folder: Path, kind: Kind, candidates: Iterator[Candidate], model: Embedder, changes: Changes
) -> Iterator[Shard]:
    """Write the shards of all candidates that are not there, and yield all."""
    known = KnownRows(folder / kind, model.dim)
    while chunk := list(islice(candidates, _ROWS)):
        entries = list(_entries(chunk, known, changes))
        new = [row for row, entry in enumerate(entries) if entry.place is None]
        found = _embedded(folder, kind, [entries[row] for row in new], model, changes) if new else {}
        points = {new[position]: point for position, point in found.items()}
        sound = [row for row, entry in enumerate(entries) if entry.place is not None or row in points]
        changes.embedded += len(points)
        changes.kept += len(sound) - len(points)
        if sound:
            places = {row: place for row in sound if (place := entries[row].place) is not None}
            rows = (known.point(places[row]) if row in places else points[row] for row in sound)
            yield _write_shard(folder / kind, [entries[row].item for row in sound], rows, model.dim)


@dataclass(frozen=True)
class _Entry:
    """A candidate, the item that it makes, and where its point is, if it is known."""

    candidate: Candidate
    item: Item
    place: Place | None


def _entries(chunk: Sequence[Candidate], known: KnownRows, changes: Changes) -> Iterator[_Entry]:
    """Find which candidates are known; a file whose path, size and time are those of an indexed one is not read."""
    for candidate in chunk:
        content = candidate.content
        if isinstance(content, Path):
            try:
                status = content.stat()
                size, mtime = status.st_size, status.st_mtime_ns
                checksum = known.unchanged(candidate.path, size, mtime) or sha256_of(content)
            except OSError as error:
                _tell(changes, candidate, f"{content} cannot be read: {system_reason(error)}.")
                continue
        else:
            raw = content.encode(errors="surrogatepass") if isinstance(content, str) else _raw(content)
            size, mtime, checksum = len(raw), 0, hashlib.sha256(raw).hexdigest()
        item = Item(candidate.id, candidate.path, candidate.caption, size, mtime, checksum)
        yield _Entry(candidate, item, known.place(checksum))


def _raw(content: NDArray[Any]) -> bytes:
    return f"{content.dtype} {content.shape}".encode() + np.ascontiguousarray(content).tobytes()


def _embedded(
    folder: Path, kind: Kind, entries: Sequence[_Entry], model: Embedder, changes: Changes
) -> dict[int, NDArray[np.float32]]:
    """Embed entries, and return their points by position; write their thumbnails, and leave damaged pictures out."""
    contents: list[Any] = [entry.candidate.content for entry in entries]
    of_features = isinstance(contents[0], np.ndarray) and contents[0].dtype.kind == "f"
    damaged: dict[int, str] = {}
    if kind == "texts":
        points = model.embed_texts(np.stack(contents) if of_features else contents)
    elif of_features:
        points = model.embed_images(np.stack(contents))
        for entry in entries:
            if entry.candidate.shown is not None:
                _keep(folder, entry, thumbnail(open_picture(entry.candidate.shown, "upright")))
    else:
        opened = OpenedPictures(contents, model.orientation)
        points = model.embed_images(opened)
        damaged = opened.damaged
        for row, jpeg in opened.thumbnails.items():
            _keep(folder, entries[row], jpeg)
    for row, reason in sorted(damaged.items()):
        _tell(changes, entries[row].candidate, reason)
    if model.distance == "cos":
        points = _of_unit_length(points)
    return {row: point for row, point in enumerate(points) if row not in damaged}


def _of_unit_length(points: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(points, axis=1, keepdims=True)
    return (points / np.where(norms > 0, norms, 1)).astype(np.float32)


def _keep(folder: Path, entry: _Entry, jpeg: bytes) -> None:
    file = thumbnail_file(folder, entry.item.sha256)
    if not file.exists():
        write_thumbnail(file, jpeg)


def _tell(changes: Changes, candidate: Candidate, reason: str) -> None:
    """Note a picture that is left out, and say so at once."""
    changes.damaged.append(Damaged(candidate.path or candidate.id, reason))
    print(f"Left out: {reason}", file=sys.stderr, flush=True)


def _write_shard(folder: Path, items: Sequence[Item], points: Iterable[NDArray[np.float32]], dim: int) -> Shard:
    """Write the files of a shard unless they are there; that of its items is the last."""
    lines = "".join(item.line() for item in items).encode()
    shard = Shard(f"rows-{short_checksum(lines)}", len(items))
    words = folder / f"{shard.name}.jsonl"
    if not words.exists():
        folder.mkdir(exist_ok=True)
        rows = np.empty((len(items), dim), dtype=np.float32)
        for row, point in zip(rows, points, strict=True):
            row[:] = point
        if not np.isfinite(rows).all():
            name = items[int(np.flatnonzero(~np.isfinite(rows).all(1))[0])].id
            raise UserError(f"The model embeds {name} as NaN or infinite numbers; its training has diverged.")
        with whole_file(words.with_suffix(".npy")) as file:
            np.save(file, rows)
        with whole_file(words) as file:
            file.write(lines)
    return shard


def _sweep(folder: Path, galleries: dict[Kind, Gallery]) -> None:
    """Delete the shards and thumbnails of an earlier state, and an approximate index of others."""
    gone = False
    for kind in KINDS:
        gallery = galleries.get(kind)
        kept = set() if gallery is None else {shard.name for shard in gallery.shards}
        for file in [*(folder / kind).glob("rows-*"), *(folder / kind).glob(".*.unfinished")]:
            if file.stem not in kept:
                file.unlink()
                gone = True
        if gallery is None or gallery.approximate is None:
            (folder / kind / APPROXIMATE).unlink(missing_ok=True)
    if gone and "images" in galleries:
        names = [shard.name for shard in galleries["images"].shards]
        used = np.sort(np.array(list(_contents(folder / "images", names)), dtype="S64"))
        for file in (folder / THUMBNAILS).glob("*/*.jpg"):
            place = int(np.searchsorted(used, file.stem.encode()))
            if place == len(used) or used[place] != file.stem.encode():
                file.unlink()


def _contents(folder: Path, shards: Iterable[str]) -> Iterator[bytes]:
    for name in shards:
        for item in read_items(folder / f"{name}.jsonl"):
            yield item.sha256.encode()
