"""What an index has embedded already: rows by file and by content."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmr_lightning.model.index_files import Shard, map_shard, read_items


class Place(NamedTuple):
    """Where a point is: its shard, and its row there."""

    shard: int
    row: int


class KnownRows:
    """The points in the shards of a folder, whether or not a manifest names them.

    They are found in sorted arrays of checksums, which take about 110 bytes an item.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        names = sorted(file.stem for file in folder.glob("rows-*.jsonl") if file.with_suffix(".npy").exists())
        stamps, contents = [np.empty(0, "S32")], [np.empty(0, "S64")]
        shards = []
        for name in names:
            items = list(read_items(folder / f"{name}.jsonl"))
            stamps.append(np.array([_stamp(item.path, item.size, item.mtime) for item in items], dtype="S32"))
            contents.append(np.array([item.sha256.encode() for item in items], dtype="S64"))
            shards.append(Shard(name, len(items)))
        self._ends = np.cumsum([shard.count for shard in shards], dtype=np.int64)
        self._stamps = _Sorted(np.concatenate(stamps))
        self._contents = _Sorted(np.concatenate(contents))
        self._open = lru_cache(maxsize=8)(lambda n: map_shard(folder / f"{shards[n].name}.npy", (shards[n].count, dim)))

    def unchanged(self, path: str, size: int, mtime: int) -> str | None:
        """Return the SHA-256 of a file that has the path, size and time of an indexed one; None if none has."""
        row = self._stamps.find(_stamp(path, size, mtime))
        return None if row is None else bytes(self._contents.values[row]).decode()

    def place(self, sha256: str) -> Place | None:
        """Return where the point of a content is, None if it is not there."""
        row = self._contents.find(sha256.encode())
        if row is None:
            return None
        shard = int(np.searchsorted(self._ends, row, side="right"))
        return Place(shard, row - (int(self._ends[shard - 1]) if shard else 0))

    def point(self, place: Place) -> NDArray[np.float32]:
        """Read a point `(D,)`."""
        return self._open(place.shard)[place.row]


class _Sorted:
    """Texts of equal length in the order of their rows, with the order that sorts them."""

    def __init__(self, values: NDArray[np.bytes_]) -> None:
        self.values = values
        self._order = np.argsort(values, kind="stable")

    def find(self, value: bytes) -> int | None:
        """Return the row of a text."""
        place = int(np.searchsorted(self.values, value, sorter=self._order))
        if place == len(self.values) or self.values[self._order[place]] != value:
            return None
        return int(self._order[place])


def _stamp(path: str, size: int, mtime: int) -> bytes:
    """Return what changes when a file does, for all that can be told without reading it."""
    text = f"{path}\0{size}\0{mtime}".encode(errors="surrogatepass")
    return hashlib.sha256(text).hexdigest()[:32].encode()
