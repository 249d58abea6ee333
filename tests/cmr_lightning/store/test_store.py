import errno
import io
import json
import multiprocessing
import os
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cmr_lightning.errors import UserError
from cmr_lightning.store import FeatureStore, Manifest, Rows, StoreWriter

COUNT, SIZE = 300, 6
ROWS = Rows([f"{n}.jpg" for n in range(COUNT)], [str(n) for n in range(COUNT)])
MANIFEST = Manifest("Encoder {}", "0123456789abcdef", "crop 32", "32", ROWS.checksum(), "float16", (COUNT, SIZE))


def features(shape: tuple[int, ...] = MANIFEST.shape) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def fill(folder: Path, manifest: Manifest = MANIFEST, most: int | None = None) -> bool:
    """Write missing shards, at most so many; returns whether the store was finished."""
    rows = features(manifest.shape)
    with StoreWriter(folder, ROWS, manifest) as writer:
        for number, claimed in enumerate(writer.claims()):
            if number == most:
                raise InterruptedError
            writer.write(claimed, rows[claimed.start : claimed.stop])
        return writer.finish()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(("count", "shard"), [(1, 1), (300, 64), (1000, 64), (100_000, 6250), (617_000, 8192)])
def test_shards_cover_all_rows_once(count: int, shard: int) -> None:
    shards = replace(MANIFEST, shape=(count, SIZE)).shards()
    assert [row for rows in shards for row in rows] == list(range(count))
    assert len(shards[0]) == shard


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rows_come_back_in_the_order_asked_for(tmp_path: Path, dtype: Any) -> None:
    assert fill(tmp_path, replace(MANIFEST, dtype=dtype))
    store = FeatureStore(tmp_path)
    kept = features().to(getattr(torch, dtype)).float()
    numbers = torch.randint(0, COUNT, (200,), generator=torch.Generator().manual_seed(1))
    for asked in numbers, torch.tensor([299, 0, 299]), numbers[:0]:
        torch.testing.assert_close(store.read(asked), kept[asked], rtol=0, atol=0)
    assert store.numbers(["7.jpg", "none.jpg", "299.jpg"]).tolist() == [7, -1, 299]


def test_rotations_are_kept_and_upright_ones_read_alone(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, shape=(COUNT, 4, SIZE), dtype="float32")
    fill(tmp_path, manifest)
    store = FeatureStore(tmp_path)
    numbers = torch.tensor([280, 3, 64])
    kept = features(manifest.shape)
    assert (store.size, store.turns) == (SIZE, 4)
    assert torch.equal(store.read(numbers, turned=True), kept[numbers])
    assert torch.equal(store.read(numbers), kept[numbers, 0])


@pytest.mark.parametrize("most", [0, 1, 4])
def test_resumed_store_is_the_undisturbed_one(tmp_path: Path, most: int) -> None:
    fill(tmp_path / "undisturbed")
    with pytest.raises(InterruptedError):
        fill(tmp_path / "resumed", most=most)
    with pytest.raises(UserError, match=r"is not finished; run the `extract` command"):
        FeatureStore(tmp_path / "resumed")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "resumed").glob("rows-*.npy")}
    assert len(written) == most
    (tmp_path / "resumed" / f".rows-{most:05d}.npy.unfinished").write_bytes(b"half")  # left by a process that died
    assert fill(tmp_path / "resumed")
    assert all(path.stat().st_mtime_ns == time for path, time in written.items()), "a shard was made twice"
    assert contents(tmp_path / "resumed") == contents(tmp_path / "undisturbed")


def test_finished_store_is_left_alone(tmp_path: Path) -> None:
    fill(tmp_path)
    before = contents(tmp_path)
    with StoreWriter(tmp_path, ROWS, MANIFEST) as writer:
        assert not [*writer.missing(), *writer.claims()]
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["encoder", "weights", "preprocessing", "precision", "data", "dtype", "shape"])
@pytest.mark.parametrize("most", [1, None])
def test_store_of_other_settings_is_refused(tmp_path: Path, name: str, most: int | None) -> None:
    other: Any = {"shape": (COUNT, SIZE + 1), "dtype": "float32"}.get(name, "other")
    with suppress(InterruptedError):
        fill(tmp_path, most=most)
    before = contents(tmp_path)
    with pytest.raises(UserError, match=rf"made with other settings: {name} is .* is asked for"):
        StoreWriter(tmp_path, ROWS, replace(MANIFEST, **{name: other}))
    assert contents(tmp_path) == before


class FullDisk(io.FileIO):
    """A file on a disk with room for ten bytes."""

    def write(self, content: Any) -> int:
        super().write(bytes(content)[:10])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("name", ["rows.json", "manifest.json", "rows-00002.npy"])
def test_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    fill(tmp_path / "undisturbed")
    usual = Path.open

    def full(path: Path, mode: str) -> Any:
        return FullDisk(path, mode) if path.name.startswith(f".{name}") else usual(path, mode)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError, match=rf"{name} could not be written: the disk is full; .* continues where it"):
        fill(tmp_path / "full")
    assert not (tmp_path / "full" / name).exists()
    assert not list((tmp_path / "full").glob(".*.unfinished"))
    monkeypatch.undo()
    assert fill(tmp_path / "full")
    assert contents(tmp_path / "full") == contents(tmp_path / "undisturbed")


def test_processes_share_the_shards(tmp_path: Path) -> None:
    """Two processes at once: none makes a shard that the other has or works on, and the last one finishes."""
    context = multiprocessing.get_context("fork")
    with StoreWriter(tmp_path, ROWS, MANIFEST) as ours:
        claims = ours.claims()
        first = next(claims)
        other = context.Process(target=fill, args=(tmp_path,))
        other.start()
        other.join()
        assert other.exitcode == 0
        assert ours.missing() == [first], "the other process should have made all shards but the one claimed here"
        ours.write(first, features()[first.start : first.stop])
        assert not list(claims)
        assert ours.finish()
    assert torch.equal(FeatureStore(tmp_path).read(torch.arange(COUNT)), features().half().float())


def finish_when_told(folder: Path, begun: Event, told: Event) -> None:
    with StoreWriter(folder, ROWS, MANIFEST) as writer:
        begun.set()
        told.wait()
        assert writer.finish()


def test_processes_that_finish_at_once_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process is told to finish while this one is in the middle of writing the manifest."""
    context = multiprocessing.get_context("fork")
    begun, told = context.Event(), context.Event()
    other = context.Process(target=finish_when_told, args=(tmp_path, begun, told))
    with StoreWriter(tmp_path, ROWS, MANIFEST) as ours:
        for claimed in ours.claims():
            ours.write(claimed, features()[claimed.start : claimed.stop])
        other.start()
        begun.wait()

        def fsync(_: int) -> None:
            told.set()
            other.join(0.5)

        monkeypatch.setattr(os, "fsync", fsync)
        assert ours.finish()
    other.join()
    assert other.exitcode == 0
    assert sorted(contents(tmp_path)) == ["manifest.json", *(f"rows-{n:05d}.npy" for n in range(5)), "rows.json"]
    assert FeatureStore(tmp_path).manifest.finished


def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    rows = torch.zeros(64, SIZE)
    rows[5, 0] = 1e6  # infinite in float16
    with StoreWriter(tmp_path, ROWS, MANIFEST) as writer:
        claimed = next(writer.claims())
        with pytest.raises(UserError, match=r"numbers of 5\.jpg.*set dtype to float32"):
            writer.write(claimed, rows)
    assert not list(tmp_path.glob("rows-*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [10**12, 8]},
        {"shape": [10**9, 10**9]},
        {"shape": [COUNT + 1, SIZE]},
        {"shape": [COUNT]},
        {"shape": [-1, 8]},
        {"shape": [COUNT, 4.5]},
        {"shape": "300x6"},
        {"dtype": "object"},
        {"finished": "yes"},
        {"more": 1},
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused_at_once(tmp_path: Path, changes: dict[str, Any]) -> None:
    fill(tmp_path)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    begin = time.process_time()
    with pytest.raises(UserError, match=r"delete the folder .* and extract again"):
        FeatureStore(tmp_path)
    assert time.process_time() - begin < 1


def test_a_manifest_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "manifest.json").open("wb") as file:
        file.truncate(2**40)  # which takes no room on the disk
    with pytest.raises(UserError, match="is larger than 64 MiB"):
        FeatureStore(tmp_path)


def test_damaged_stores_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There is no feature store"):
        FeatureStore(tmp_path)
    fill(tmp_path)
    shard = tmp_path / "rows-00001.npy"
    whole = shard.read_bytes()
    for damaged in (whole[:-1], whole[:-5] + bytes([whole[-5] ^ 4]) + whole[-4:]):  # cut short, and a flipped bit
        shard.write_bytes(damaged)
        with pytest.raises(UserError, match=r"rows-00001\.npy does not have the checksum .*extract again"):
            FeatureStore(tmp_path)
    shard.unlink()
    with pytest.raises(UserError, match=r"rows-00001\.npy cannot be read .*delete the folder .* and extract again"):
        StoreWriter(tmp_path, ROWS, MANIFEST)
    shard.mkdir()
    with pytest.raises(UserError, match=r"rows-00001\.npy cannot be read"):
        FeatureStore(tmp_path)
    shard.rmdir()
    shard.write_bytes(whole)
    names = json.loads((tmp_path / "rows.json").read_text())
    names["ids"][0] = "another.jpg"
    (tmp_path / "rows.json").write_text(json.dumps(names))
    with pytest.raises(UserError, match=r"rows\.json does not have the checksum"):
        FeatureStore(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UserError, match=r"manifest\.json is damaged: encoder: Field required"):
        FeatureStore(tmp_path)
