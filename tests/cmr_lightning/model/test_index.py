from pathlib import Path

import numpy as np
import pytest

from cmr_lightning.errors import UserError
from cmr_lightning.model import Index, index_update
from cmr_lightning.model.index_items import FolderItems
from cmr_lightning.model.index_update import update_index
from tests.cmr_lightning.model.colours import PURE, Colours, paint


@pytest.fixture(params=["cos", "l2"])
def index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """Thirty pictures, three of them the same red one."""
    monkeypatch.setattr(index_update, "_ROWS", 7)
    draw = np.random.default_rng(0)
    for number in range(27):
        paint(tmp_path / "pictures" / f"{number}.png", tuple(draw.integers(10, 250, 3).tolist()))
    for copy in range(3):
        paint(tmp_path / "pictures" / f"red{copy}.png", "red")
    update_index(tmp_path / "index", FolderItems(tmp_path / "pictures"), Colours(request.param))
    return Index(tmp_path / "index")


def test_the_nearest_are_those_of_an_explicit_loop(index: Index) -> None:
    points, cos = index.points("images")[:], index.manifest.distance == "cos"
    queries = np.array([PURE["red"], PURE["grey"]], dtype=np.float32)
    for k in (1, 5, 100):
        for query, found in zip(queries, index.search(queries, k), strict=True):
            near = points @ query / np.linalg.norm(query) if cos else -np.linalg.norm(points - query, axis=1)
            best = np.sort(near)[::-1][:k]
            np.testing.assert_allclose([one.score for one in found], best, rtol=1e-4, atol=1e-4)
            assert [one.rank for one in found] == list(range(1, min(k, 30) + 1))
    assert {one.item.id for one in index.search(queries[:1], 3)[0]} == {"red0.png", "red1.png", "red2.png"}


def test_a_picture_does_not_find_itself_nor_its_copies(index: Index) -> None:
    (first, *_) = index.search(np.array([PURE["red"]], dtype=np.float32), 1)[0]
    queries = np.array([PURE["red"], PURE["red"]], dtype=np.float32)
    others, with_itself = index.search(queries, 3, without=[first.item.sha256, None])
    assert len(others) == 3
    assert not any(one.item.id.startswith("red") for one in others)
    assert [one.item.id[:3] for one in with_itself] == ["red"] * 3
    assert len(index.search(queries[:1], 30, without=[first.item.sha256])[0]) == 27


def test_refusals(index: Index, tmp_path: Path) -> None:
    red = np.array([PURE["red"]], dtype=np.float32)
    for points, options, message in (
        (red, {"k": 0}, "k is 0, but should be at least 1"),
        (red, {"kind": "texts"}, "has no texts, only images"),
        (red[:, :2], {}, r"of shape \(Q, 3\), and these have \(1, 2\)"),
        (red * np.nan, {}, "Queries are finite numbers"),
    ):
        with pytest.raises(UserError, match=message):
            index.search(points, **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="nowhere is no index; `python -m cmr_lightning index MODEL ITEMS"):
        Index(tmp_path / "nowhere")
    shard = next((index.folder / "images").glob("*.npy"))
    for content in (b"", b"\x93NUMPY", shard.read_bytes()[:-4]):
        shard.write_bytes(content)
        with pytest.raises(UserError, match=f"{shard.name} cannot be read"):
            index.search(red)
        with pytest.raises(UserError, match=f"{shard.name} cannot be read"):
            index.points("images")[:]
    np.save(shard, np.zeros((2, 3)))
    with pytest.raises(UserError, match=r"holds float64 of shape \(2, 3\), and not float32"):
        index.search(red)
