"""Composed queries: one direction, the source left out, right by target or by caption."""

from math import comb

import numpy as np
import pytest
import torch

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import (
    COMPOSED_CAPTION,
    COMPOSED_TARGET,
    Compositions,
    Protocol,
    Relevance,
    chance,
    load_ranks,
    measure_composed,
    per_query,
    save_ranks,
    top,
)

BOTH = (*COMPOSED_TARGET, *COMPOSED_CAPTION)
IMAGES, QUERIES = 40, 70


@pytest.fixture
def asked() -> tuple[torch.Tensor, torch.Tensor, Compositions]:
    """Images, some alike to the last bit, and queries; seven captions, five images of the first."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randn(IMAGES, 6, generator=draw)
    images[10:14] = images[9]
    source = torch.randint(0, IMAGES, (QUERIES,), generator=draw)
    target = (source + torch.randint(1, IMAGES, (QUERIES,), generator=draw)) % IMAGES
    queries = images[target] + images[source] + torch.randn(QUERIES, 6, generator=draw)
    return images, queries, Compositions(source, target, {"caption": torch.arange(IMAGES) % 7})


def expected_recall(images, queries, asked: Compositions, keys, query: int, k: int) -> float:
    """The probability of a right image among the first k, over all orders of equal scores, by an explicit list."""
    unit = torch.nn.functional.normalize(images.double(), dim=1)
    scores = unit @ torch.nn.functional.normalize(queries[query].double(), dim=0)
    others = [i for i in range(len(images)) if i != asked.source[query]]
    right = {i for i in others if keys[i] == keys[asked.target[query]]}
    best = max((float(scores[i]) for i in right), default=None)
    if best is None:
        return 0.0
    above = sum(float(scores[i]) > best + 1e-12 for i in others)
    tied = [i for i in others if abs(float(scores[i]) - best) <= 1e-12]
    among = sum(i in right for i in tied)
    places = min(max(k - above, 0), len(tied))
    return 1 - comb(len(tied) - among, places) / comb(len(tied), places)


@pytest.mark.parametrize("relevance", ["target", "caption"])
@pytest.mark.parametrize("block", [1, 100, 2**24])
def test_recall_equals_a_loop_over_the_other_images(asked, relevance: str, block: int, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("cmr_lightning.evaluation.ranks._BLOCK", block)
    images, queries, compositions = asked
    keys = torch.arange(IMAGES) if relevance == "target" else compositions.keys["caption"]
    found = measure_composed(images, queries, compositions, BOTH)
    assert set(found.ranks) == {"c2i/cos/target", "c2i/cos/caption"}
    assert set(found.metrics) == {protocol.id for protocol in BOTH}
    assert all(ranks.num_queries == QUERIES and ranks.gallery_size == IMAGES - 1 for ranks in found.ranks.values())
    save_ranks(tmp_path / "ranks.npz", found.ranks)
    kept = load_ranks(tmp_path / "ranks.npz")[f"c2i/cos/{relevance}"]
    for k in (1, 5, 10):
        loop = [expected_recall(images, queries, compositions, keys, q, k) for q in range(QUERIES)]
        protocol = Protocol("recall", relevance, k=k)
        assert per_query(kept, protocol) == pytest.approx(loop, abs=1e-9)
        assert found.metrics[protocol.id] == pytest.approx({"c2i": 100 * np.mean(loop), "mean": 100 * np.mean(loop)})


def test_the_source_is_never_found_although_it_is_the_nearest(asked) -> None:
    images, _, compositions = asked
    queries = images[compositions.source]
    keys = {"caption": torch.zeros(IMAGES, dtype=torch.int64)}
    right = measure_composed(images, queries, compositions._replace(keys=keys), COMPOSED_CAPTION)
    assert right.metrics["recall@1/cos/caption"]["c2i"] == pytest.approx(100)
    alone = torch.arange(IMAGES)
    alone[compositions.source[0]] = alone[compositions.target[0]]  # the source of the first query would be right
    ranks = measure_composed(images, queries, compositions._replace(keys={"caption": alone}), COMPOSED_CAPTION).ranks
    assert ranks["c2i/cos/caption"].num_relevant[0] == 1
    results = top(queries, images, "cos", IMAGES, excluded=compositions.source)
    assert results.shape == (QUERIES, IMAGES - 1)
    assert not (results == compositions.source[:, None]).any()
    assert all(len(set(row)) == IMAGES - 1 for row in results.tolist())


def test_a_perfect_model_has_100_and_a_collapsed_one_has_chance(asked) -> None:
    _, _, compositions = asked
    perfect = measure_composed(torch.eye(IMAGES), torch.eye(IMAGES)[compositions.target], compositions, BOTH)
    assert all(values == {"c2i": 100, "mean": 100} for values in perfect.metrics.values())
    found = measure_composed(torch.ones(IMAGES, 2), torch.ones(QUERIES, 2), compositions, BOTH)
    caption = compositions.keys["caption"]
    for k in (1, 5, 10):
        by_query = []
        for source, target in zip(compositions.source, compositions.target, strict=True):
            right = int((caption == caption[target]).sum()) - int(caption[source] == caption[target])
            by_query.append(1 - comb(IMAGES - 1 - right, k) / comb(IMAGES - 1, k))
        assert found.metrics[f"recall@{k}/cos/caption"]["c2i"] == pytest.approx(100 * np.mean(by_query))
        assert found.metrics[f"recall@{k}/cos/target"]["c2i"] == pytest.approx(100 * k / (IMAGES - 1))
        relevance = Relevance(caption[compositions.target], caption)
        by_chance = chance(relevance, Protocol("recall", "caption", k=k), excluded=compositions.source)
        assert by_chance == pytest.approx(100 * np.mean(by_query))


def test_in_folds_a_query_searches_that_of_its_source(asked) -> None:
    images, queries, compositions = asked
    fold = torch.arange(IMAGES) % 3
    source = compositions.source
    compositions = compositions._replace(fold=fold, target=(source + 3) % (IMAGES - IMAGES % 3))
    protocol = Protocol("recall", "target", k=5, folds=3)
    found = measure_composed(images, queries, compositions, [protocol])
    assert set(found.ranks) == set(protocol.rankings("c2i"))
    values = []
    for number in range(3):
        rows, asking = (fold == number).nonzero().flatten(), (fold[source] == number).nonzero().flatten()
        inside = Compositions(
            torch.searchsorted(rows, source[asking]), torch.searchsorted(rows, compositions.target[asking]), {}
        )
        alone = measure_composed(images[rows], queries[asking], inside, [Protocol("recall", "target", k=5)])
        values.append(alone.metrics["recall@5/cos/target"]["c2i"])
    assert found.metrics[protocol.id]["c2i"] == pytest.approx(np.mean(values))


def test_protocols_need_keys_and_folds_that_the_data_have(asked) -> None:
    with pytest.raises(UserError, match="recall@1/cos/noun needs noun keys"):
        measure_composed(*asked, [Protocol("recall", "noun", k=1)])
    with pytest.raises(UserError, match="mean over 3 folds, but these data have 0"):
        measure_composed(*asked, [Protocol("recall", "target", k=1, folds=3)])
