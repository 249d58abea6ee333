"""Ranks against counting, item by item: the same whatever the blocks, tiles, threads, order and precision."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import tie_groups as module
from cmr_lightning.evaluation.ranks import Ranks, chance_ranks, load_ranks, rank, save_ranks, top
from cmr_lightning.evaluation.relevance import Relevance
from cmr_lightning.evaluation.tie_groups import TieGroups, tie_groups

DISTANCES = ["cos", "l2"]


def similarity(queries: torch.Tensor, gallery: torch.Tensor, distance: str) -> np.ndarray:
    """Pair by pair, in float64, to 9 digits: what the blockwise product must rank like."""
    q, g = queries.double()[:, None], gallery.double()[None]
    values = torch.nn.functional.cosine_similarity(q, g, dim=2) if distance == "cos" else -(q - g).square().sum(dim=2)
    return values.round(decimals=9).numpy()


def by_counting(similarities: np.ndarray, relevant: np.ndarray) -> TieGroups:
    """Tie groups by comparing every relevant item with the whole gallery."""
    counts, groups = [], []
    for values, truth in zip(similarities, relevant, strict=True):
        levels = np.unique(values[truth])[::-1]
        counts.append(len(levels))
        groups += [((values > v).sum(), (values == v).sum(), (values[truth] == v).sum()) for v in levels]
    return TieGroups(np.array(counts), *np.array(groups, dtype=np.int32).reshape(-1, 3).T)


def expected_ranks(queries: torch.Tensor, gallery: torch.Tensor, relevance: Relevance, distance: str) -> Ranks:
    counts, *groups = by_counting(similarity(queries, gallery, distance), relevance.block(slice(None)).numpy())
    return Ranks(np.cumsum([0, *counts]), *groups, len(gallery))


def assert_equal(ranks: Ranks, expected: Ranks) -> None:
    for field in ("offsets", "above", "size", "relevant"):
        np.testing.assert_array_equal(getattr(ranks, field), getattr(expected, field), err_msg=field)
        assert getattr(ranks, field).dtype == (np.int64 if field == "offsets" else np.int32)
    assert ranks.gallery_size == expected.gallery_size


def tied_case(seed: int, queries: int = 30, gallery: int = 90, dim: int = 11, multi_hot: bool = False):
    """Gallery with copies, queries equal to gallery items and to their opposites, vectors of zeros."""
    generator = torch.Generator().manual_seed(seed)
    distinct = torch.randn(gallery // 3, dim, generator=generator)
    distinct[0] = 0
    q = torch.randn(queries, dim, generator=generator)
    q[:5], q[5:10], q[10] = distinct[:5], -distinct[5:10], 0
    g = distinct[torch.randint(gallery // 3, (gallery,), generator=generator)]
    labels = torch.randint(7, (queries + gallery,), generator=generator)
    labels[0] = 99  # no item is relevant to the first query
    keys = torch.nn.functional.one_hot(labels % 13, 13).float() if multi_hot else labels
    return q, g, Relevance(keys[:queries], keys[queries:])


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("block_elements", [None, 1, 90, 700])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("multi_hot", [False, True])
def test_ranks_are_those_of_counting(distance, block_elements, dtype, multi_hot):
    queries, gallery, relevance = tied_case(0, multi_hot=multi_hot)
    queries, gallery = queries.to(dtype), gallery.to(dtype)
    before = torch.cat([queries, gallery])
    ranks = rank(queries, gallery, relevance, distance, block_elements)
    assert_equal(ranks, expected_ranks(queries, gallery, relevance, distance))
    assert torch.equal(torch.cat([queries, gallery]), before)
    assert ranks.size.max() > 3
    assert ranks.num_relevant.tolist() == relevance.block(slice(None)).sum(dim=1).tolist()
    assert ranks.num_relevant[0] == 0 or multi_hot


@pytest.mark.parametrize("distance", DISTANCES)
def test_order_of_items_does_not_matter(distance):
    queries, gallery, relevance = tied_case(5)
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(1))
    reordered = rank(queries, gallery[order], Relevance(relevance.query, relevance.gallery[order]), distance)
    assert_equal(reordered, rank(queries, gallery, relevance, distance))


@pytest.mark.parametrize("dim", [3, 17, 64, 513])
def test_noise_of_float64_does_not_split_ties_where_products_cancel(dim):
    generator = torch.Generator().manual_seed(dim)
    point, across = torch.randn(2, 1, dim, generator=generator, dtype=torch.float64)
    across -= (across @ point.T) / point.square().sum() * point
    noise = 1 + torch.randint(-1, 2, (101, dim), generator=generator).double() * torch.finfo(torch.float64).eps
    assert len((point @ (across * noise).T).float().unique()) > 1
    keys = Relevance(torch.zeros(13, dtype=torch.int64), torch.arange(101) % 2)
    for gallery, distance in ((across * noise, "cos"), (point * noise, "l2")):
        for block_elements in (101, 300, 10**6):
            assert_equal(rank(point.expand(13, -1), gallery, keys, distance, block_elements), chance_ranks(keys))


@pytest.mark.parametrize("threads", [1, 2])
def test_tiles_and_threads_do_not_matter(threads):
    """Large enough for several tiles in both directions, and several pieces to sort."""
    queries, gallery, relevance = tied_case(13, queries=300, gallery=2700, dim=5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        ranks = rank(queries, gallery, relevance, "cos")
    finally:
        torch.set_num_threads(before)
    assert_equal(ranks, expected_ranks(queries, gallery, relevance, "cos"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("distance", DISTANCES)
def test_ranks_of_a_gpu_are_those_of_the_cpu(distance):
    """In inference mode, as in a test: the mode belongs to a thread, and those that sort are not in it."""
    queries, gallery, relevance = tied_case(7)
    with torch.inference_mode():
        there = queries.cuda(), gallery.cuda()
        ranks, best = rank(*there, relevance, distance, 700), top(*there, distance, 9).cpu()
    assert_equal(ranks, rank(queries, gallery, relevance, distance))
    assert torch.equal(best, top(queries, gallery, distance, 9))


class LargestTensor(TorchDispatchMode):
    """Watches the size of everything that torch computes."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in torch.utils._pytree.tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@pytest.mark.parametrize("distance", DISTANCES)
def test_nothing_of_the_size_of_queries_by_gallery_exists(distance):
    queries, gallery, relevance = tied_case(8, queries=200, gallery=300, dim=3)
    limit = 1500
    for run in (
        lambda: rank(queries, gallery, relevance, distance, limit),
        lambda: top(queries, gallery, distance, 3, limit),
        lambda: chance_ranks(relevance, limit),
    ):
        with LargestTensor() as largest:
            run()
        assert 0 < largest.numel <= limit


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("block_elements", [1, 10**6])
def test_top_lists_the_best_and_of_equals_the_first(distance, block_elements):
    queries, gallery, _ = tied_case(9)
    order = np.argsort(-similarity(queries, gallery, distance), axis=1, kind="stable")
    found = top(queries, gallery, distance, 12, block_elements)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), order[:, :12])
    assert top(queries, gallery, distance, 1000).shape == (30, 90)


@pytest.mark.parametrize("items", ["queries", "gallery items"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_embeddings_must_be_finite(items, value):
    queries, gallery, relevance = tied_case(10)
    broken = queries if items == "queries" else gallery
    broken[[2, 4], 0] = value
    for function in (lambda: rank(queries, gallery, relevance, "l2"), lambda: top(queries, gallery, "l2", 3)):
        with pytest.raises(UserError, match=f"2 of {len(broken)} {items} are not finite"):
            function()


def test_sizes_must_agree():
    queries, gallery, relevance = tied_case(11)
    with pytest.raises(ValueError, match="30 queries and 80 gallery items came with 30 and 90 keys"):
        rank(queries, gallery[:80], relevance, "cos")
    with pytest.raises(ValueError, match="nothing to rank"):
        rank(queries, gallery[:0], Relevance(relevance.query, relevance.gallery[:0]), "cos")


@pytest.mark.parametrize("few", [0, 16, 101], ids=["sorting", "as measured", "counting"])
@pytest.mark.parametrize("density", [0, 0.02, 0.2, 1])
@pytest.mark.parametrize("levels", [1, 2, 30, 10**6])
def test_tie_groups_of_sorting_and_of_counting(levels, density, few, monkeypatch):
    """From the lowest to the highest possible similarity, and with an item that is outside the gallery."""
    monkeypatch.setattr(module, "_FEW", few)
    rng = np.random.default_rng(levels)
    similarities = np.linspace(0, 2**30 - 1, levels).astype(np.int32)[rng.integers(levels, size=(13, 101))]
    relevant = rng.random((13, 101)) < density
    relevant[:, 40] = False
    inside = by_counting(np.delete(similarities, 40, axis=1), np.delete(relevant, 40, axis=1))
    for value, expected in ((similarities[:, 40], by_counting(similarities, relevant)), (-1, inside)):
        similarities[:, 40] = value
        found = tie_groups(torch.from_numpy(similarities.copy()), torch.from_numpy(relevant))
        for field, column, right in zip(TieGroups._fields, found, expected, strict=True):
            np.testing.assert_array_equal(column, right, err_msg=field)
            assert column.dtype == (np.int64 if field == "counts" else np.int32)


def test_saved_ranks_come_back(tmp_path):
    queries, gallery, relevance = tied_case(12)
    none_relevant = Relevance(torch.tensor([1, 2]), torch.zeros(90, dtype=torch.int64))
    saved = {
        "i2t/cos/label": rank(queries, gallery, relevance, "cos"),
        "t2i/l2/label": rank(gallery, queries, relevance.transposed(), "l2"),
        "i2t/cos/instance": rank(queries[:2], gallery, none_relevant, "cos"),
        "large": Ranks(np.array([0, 0, 2]), *np.array([[3, 70_000], [2, 100_000], [1, 66_000]], np.int32), 200_000),
    }
    path = tmp_path / "run" / "ranks.npz"
    save_ranks(path, saved)
    loaded = load_ranks(path)
    assert list(loaded) == list(saved)
    for name, ranks in saved.items():
        assert_equal(loaded[name], ranks)
    assert [file.name for file in path.parent.iterdir()] == ["ranks.npz"]


def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "ranks.npz"
    ranks = chance_ranks(Relevance(torch.arange(3), torch.arange(3)))
    save_ranks(path, {"a": ranks})

    def interrupted(file, **arrays):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_ranks(path, {"b": ranks})
    assert list(load_ranks(path)) == ["a"]
    assert [file.name for file in tmp_path.iterdir()] == ["ranks.npz"]


def test_other_files_are_no_ranks(tmp_path):
    with pytest.raises(UserError, match="no file of ranks"):
        load_ranks(tmp_path / "missing.npz")
    text, empty, array, archive = (tmp_path / name for name in ("text.npz", "empty.npz", "array.npz", "archive.npz"))
    text.write_text("not an archive")
    empty.touch()
    np.save(array.open("wb"), np.zeros(3))
    np.savez(archive, other=np.zeros(3))
    for path in (text, empty, array, archive):
        with pytest.raises(UserError, match=f"{path.name} is not a file of ranks"):
            load_ranks(path)
