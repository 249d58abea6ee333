import numpy as np
import pytest
import torch

from cmr_lightning.evaluation import tie_groups as module
from cmr_lightning.evaluation.tie_groups import TieGroups, tie_groups


def by_hand(similarities: np.ndarray, relevant: np.ndarray) -> TieGroups:
    """The groups by a loop over queries and over the levels of their relevant items."""
    counts, groups = [], []
    for values, truth in zip(similarities, relevant, strict=True):
        levels = sorted(set(values[truth].tolist()), reverse=True)
        counts.append(len(levels))
        groups += [((values > v).sum(), (values == v).sum(), (values[truth] == v).sum()) for v in levels]
    return TieGroups(np.array(counts), *np.array(groups, dtype=np.int32).reshape(-1, 3).T)


def draw(levels: int, density: float, shape: tuple[int, int] = (13, 101)) -> tuple[np.ndarray, np.ndarray]:
    """Similarities of so many levels, from the lowest to the highest possible, and relevance of some density."""
    rng = np.random.default_rng(levels)
    similarities = np.linspace(0, 2**30 - 1, levels).astype(np.int32)[rng.integers(levels, size=shape)]
    return similarities, rng.random(shape) < density


def found_in(similarities: np.ndarray, relevant: np.ndarray) -> TieGroups:
    return tie_groups(torch.from_numpy(similarities), torch.from_numpy(relevant))


@pytest.mark.parametrize("few", [0, 16, 101], ids=["sorting", "as measured", "counting"])
@pytest.mark.parametrize("density", [0, 0.02, 0.2, 1])
@pytest.mark.parametrize("levels", [1, 2, 30, 10**6])
def test_both_ways_find_the_groups(levels, density, few, monkeypatch):
    monkeypatch.setattr(module, "_FEW", few)
    similarities, relevant = draw(levels, density)
    expected = by_hand(similarities, relevant)
    for field, found, right in zip(TieGroups._fields, found_in(similarities, relevant), expected, strict=True):
        np.testing.assert_array_equal(found, right, err_msg=field)
        assert found.dtype == (np.int64 if field == "counts" else np.int32)


@pytest.mark.parametrize("few", [0, 16], ids=["sorting", "counting"])
def test_an_item_outside_the_gallery_counts_nowhere(few, monkeypatch):
    monkeypatch.setattr(module, "_FEW", few)
    similarities, relevant = draw(2, 0.1)
    relevant[:, 40] = False
    expected = by_hand(np.delete(similarities, 40, axis=1), np.delete(relevant, 40, axis=1))
    similarities[:, 40] = -1
    for found, right in zip(found_in(similarities, relevant), expected, strict=True):
        np.testing.assert_array_equal(found, right)
