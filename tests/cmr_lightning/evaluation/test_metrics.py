"""Metrics against oracles that share nothing with them: explicit orders of the gallery, scikit-learn, ranx."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from cmr_lightning.evaluation.metrics import chance, per_query, score, weights
from cmr_lightning.evaluation.protocols import CLASS_LEVEL, INSTANCE_LEVEL, NORMALISERS, Protocol
from cmr_lightning.evaluation.ranks import Ranks, chance_ranks, rank
from cmr_lightning.evaluation.relevance import Relevance
from tests.cmr_lightning.evaluation.test_ranks import similarity


def metric_of_order(relevant: list[bool], protocol: Protocol) -> float:
    """The metric of one query whose gallery, best first, is relevant as listed; NaN where the query is dropped."""
    n, total, k = len(relevant), sum(relevant), protocol.k or len(relevant)
    places = [r for r in range(1, n + 1) if relevant[r - 1]]
    precisions = [sum(relevant[:r]) / r for r in places]
    within = precisions[: sum(relevant[:k])]
    if protocol.metric == "map":
        nothing = math.nan if protocol.normaliser == "hits-nonempty" else 0
        sums, counts = {
            None: (within, total),
            "total": (within, total),
            "min": (within, min(total, k)),
            "hits": (within, len(within)),
            "hits-nonempty": (within, len(within)),
            "first": (precisions[:k], min(total, k)),
        }[protocol.normaliser]
        return sum(sums) / counts if counts else nothing
    return {
        "precision": sum(relevant[:k]) / k,
        "r-precision": sum(relevant[:total]) / max(total, 1),
        "map-at-r": sum(precisions[: sum(relevant[:total])]) / max(total, 1),
        "recall": float(any(relevant[:k])),
        "rsum": sum(float(any(relevant[:cutoff])) for cutoff in (1, 5, 10)),
        "median-rank": places[0] if places else n + 1,
    }[protocol.metric]


def orders(scores: list[int], relevant: list[bool]):
    """Relevance, best first, under every order of the items within their groups of equal scores.

    Orders that only exchange items of equal relevance are listed once: each stands for equally many.
    """
    groups = [[r for s, r in zip(scores, relevant, strict=True) if s == value] for value in sorted(set(scores))[::-1]]
    for permuted in itertools.product(*(set(itertools.permutations(group)) for group in groups)):
        yield [r for group in permuted for r in group]


def ranks_of_scores(scores: list[int], relevant: list[list[bool]]) -> Ranks:
    """Ranks of queries that share their scores: under l2, points on a line, farther away by falling score."""
    gallery = torch.tensor(scores, dtype=torch.float32)[:, None]
    keys = Relevance(torch.eye(len(relevant)), torch.tensor(relevant).T.float())
    return rank(torch.full((len(relevant), 1), float(max(scores))), gallery, keys, "l2")


ALL_METRICS = [
    Protocol("map", "label"),
    *(Protocol("map", "label", k=k, normaliser=n) for n in NORMALISERS for k in (1, 2, 3, 5, 9)),
    *(Protocol(metric, "label", k=k) for metric in ("precision", "recall") for k in (1, 2, 3, 5, 9)),
    *(Protocol(metric, "label") for metric in ("map-at-r", "r-precision", "median-rank", "rsum")),
]


@pytest.mark.parametrize(
    "scores",
    [[6, 5, 4, 3, 2, 1, 0], [2, 2, 2, 2, 2, 2, 2], [4, 4, 4, 4, 1, 1, 1], [9, 7, 7, 5, 5, 5, 0], [3, 1, 1, 1, 1, 1, 0]],
    ids=str,
)
def test_expected_over_all_orders_of_ties(scores):
    rng = np.random.default_rng(0)
    relevant = [[bool(x) for x in rng.permutation([1] * m + [0] * (7 - m))] for m in (0, 1, 1, 2, 3, 4, 6, 7)]
    ranks = ranks_of_scores(scores, relevant)
    for protocol in ALL_METRICS:
        oracle, probability = [], []
        for query in relevant:
            values = np.array([metric_of_order(order, protocol) for order in orders(scores, query)])
            kept = ~np.isnan(values)
            oracle.append(values[kept].mean() if kept.any() else math.nan)
            probability.append(kept.mean())
        np.testing.assert_allclose(per_query(ranks, protocol), oracle, atol=1e-12, err_msg=protocol.id)
        np.testing.assert_allclose(weights(ranks, protocol), probability, atol=1e-12, err_msg=protocol.id)


def ordinary_case(seed: int, queries: int = 40, gallery: int = 70, dim: int = 6, classes: int = 5):
    """Weakly aligned embeddings with every sign of score."""
    generator = torch.Generator().manual_seed(seed)
    keys = Relevance(
        torch.randint(classes, (queries,), generator=generator), torch.randint(classes, (gallery,), generator=generator)
    )
    centres = torch.randn(classes, dim, generator=generator)
    noise = torch.randn(queries + gallery, dim, generator=generator)
    return centres[keys.query] + noise[:queries], centres[keys.gallery] + noise[queries:], keys


@pytest.mark.parametrize("shift", [0.0, 60.0], ids=["any sign", "all cosines negative"])
def test_average_precision_is_that_of_scikit_learn(shift):
    queries, gallery, relevance = ordinary_case(1)
    queries = torch.nn.functional.pad(queries, (0, 1), value=shift)
    gallery = torch.nn.functional.pad(gallery, (0, 1), value=-shift)
    cosines = similarity(queries, gallery, "cos")
    assert (cosines.max() < 0) == (shift > 0)
    truth = relevance.block(slice(None)).numpy()
    oracle = [average_precision_score(t, s) for t, s in zip(truth, cosines, strict=True)]
    values = per_query(rank(queries, gallery, relevance, "cos"), Protocol("map", "label"))
    np.testing.assert_allclose(values, oracle, atol=1e-6)


@pytest.mark.slow  # ranx compiles itself at the first call
@pytest.mark.parametrize("distance", ["cos", "l2"])
def test_metrics_are_those_of_ranx(distance):
    from ranx import Qrels, Run, evaluate

    queries, gallery, relevance = ordinary_case(2)
    scores = similarity(queries, gallery, distance)
    truth = relevance.block(slice(None))
    qrels = Qrels({f"q{q}": {f"d{d}": 1 for d in truth[q].nonzero().flatten().tolist()} for q in range(len(queries))})
    run = Run({f"q{q}": {f"d{d}": float(s) for d, s in enumerate(scores[q])} for q in range(len(queries))})
    ranks = rank(queries, gallery, relevance, distance)
    expected = evaluate(qrels, run, ["map", "map@20", "precision@10", "r-precision", "hit_rate@1", "hit_rate@5"])
    ours = ("map@all", "map@20-total", "precision@10", "r-precision", "recall@1", "recall@5")
    protocols = [Protocol.parse(f"{metric}/{distance}/label") for metric in ours]
    found = [score(ranks, protocol) / protocol.scale for protocol in protocols]
    assert found == pytest.approx(list(expected.values()), abs=1e-6)


def test_scores_have_their_documented_units():
    ranks = ranks_of_scores([5, 4, 3, 2, 1, 0], [[False, True, False, False, False, True], [True] + [False] * 5])
    assert score(ranks, Protocol("recall", "instance", k=1)) == 50
    assert score(ranks, Protocol("rsum", "instance")) == 50 + 100 + 100
    assert score(ranks, Protocol("map", "label")) == pytest.approx(((1 / 2 + 2 / 6) / 2 + 1) / 2)
    # Ranks 2 and 1 are 1 and 0 counted from 0; floor(0.5) + 1.
    assert score(ranks, Protocol("median-rank", "instance")) == 1


def test_queries_without_a_relevant_item_count_as_failures_or_are_dropped():
    nonempty = Protocol("map", "label", k=2, normaliser="hits-nonempty")
    ranks = ranks_of_scores([2, 1, 0], [[False] * 3, [True, False, False]])
    assert [score(ranks, p) for p in (Protocol("map", "label"), Protocol("recall", "label", k=1))] == [0.5, 50]
    assert per_query(ranks, Protocol("median-rank", "label")).tolist() == [4, 1]
    assert score(ranks, nonempty) == 1
    assert score(ranks_of_scores([2, 1, 0], [[False, False, True]]), nonempty) == 0


@pytest.mark.parametrize("protocol", ALL_METRICS, ids=lambda protocol: protocol.id)
def test_neither_parts_nor_the_order_of_items_change_a_metric(protocol, monkeypatch):
    queries, gallery, relevance = ordinary_case(3)
    gallery[::4] = gallery[0]
    ranks = rank(queries, gallery, relevance, "cos")
    whole = per_query(ranks, protocol)
    order = torch.randperm(len(gallery), generator=torch.Generator().manual_seed(0))
    shuffled = rank(queries, gallery[order], Relevance(relevance.query, relevance.gallery[order]), "cos")
    np.testing.assert_array_equal(per_query(shuffled, protocol), whole)
    parts = Ranks.parts
    monkeypatch.setattr(Ranks, "parts", lambda self: parts(self, groups=25))
    assert len(list(ranks.parts())) > 10
    np.testing.assert_array_equal(per_query(ranks, protocol), whole)


WIKIPEDIA = {
    "test": [34, 88, 96, 85, 65, 58, 51, 41, 71, 104],
    "val": [11, 33, 34, 27, 16, 18, 16, 15, 21, 40],
    "last 462": [23, 55, 62, 58, 49, 40, 35, 26, 50, 64],
}
CHANCE = [  # class counts, then the six conventions: whole gallery, hits, hits-nonempty, total, min, first
    (WIKIPEDIA["test"], (0.118, 0.173, 0.175, 0.014, 0.022, 0.122)),
    (WIKIPEDIA["last 462"], (0.120, 0.173, 0.174, 0.020, 0.023, 0.121)),
    (WIKIPEDIA["val"], (0.135, 0.178, 0.180, 0.042, 0.042, 0.135)),
    ([5] * 20, (0.090, 0.115, 0.118, 0.063, 0.063, 0.090)),
    ([10] * 20, (0.073, 0.115, 0.121, 0.033, 0.033, 0.073)),
]


def class_keys(counts: list[int]) -> Relevance:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return Relevance(labels, labels)


@pytest.mark.parametrize(("counts", "expected"), CHANCE, ids=lambda value: f"{sum(value):g}")
def test_chance_of_class_level_splits_as_simulated(counts, expected):
    relevance = class_keys(counts)
    assert [chance(relevance, protocol) for protocol in CLASS_LEVEL[:6]] == pytest.approx(expected, abs=0.0015)


@pytest.mark.parametrize("counts", [WIKIPEDIA["test"], WIKIPEDIA["val"], [5] * 20], ids=sum)
def test_chance_of_average_precision_in_closed_form(counts):
    relevance, n, k = class_keys(counts), sum(counts), 50

    def harmonic(stop: int) -> float:
        return sum(1 / r for r in range(1, stop + 1))

    def total(r: int, stop: int) -> float:
        return (harmonic(stop) + (r - 1) / (n - 1) * (stop - harmonic(stop))) / n

    closed = {
        Protocol("map", "label"): sum(r * total(r, n) for r in counts) / n,
        Protocol("map", "label", k=k, normaliser="total"): sum(r * total(r, k) for r in counts) / n,
        Protocol("map", "label", k=k, normaliser="min"): sum(r * total(r, k) * r / min(r, k) for r in counts) / n,
    }
    for protocol, expected in closed.items():
        assert chance(relevance, protocol) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("k", [1, 5, 10])
def test_chance_of_recall_in_closed_form(k):
    images, texts = torch.arange(200), torch.arange(200).repeat_interleave(5)
    i2t = Relevance(images, texts)
    protocol = Protocol("recall", "instance", k=k)
    assert chance(i2t, protocol) == pytest.approx(100 - 100 * math.comb(995, k) / math.comb(1000, k), abs=1e-9)
    assert chance(i2t.transposed(), protocol) == pytest.approx(100 * k / 200, abs=1e-9)
    assert chance(i2t, Protocol("median-rank", "instance")) == math.floor(1001 / 6 - 1) + 1


@pytest.mark.parametrize("distance", ["cos", "l2"])
@pytest.mark.parametrize("opposite", [1, -1], ids=["one point", "a point for each modality"])
def test_a_collapsed_encoder_scores_exactly_chance(distance, opposite):
    relevance = class_keys(WIKIPEDIA["val"])
    point = torch.randn(1, 37, generator=torch.Generator().manual_seed(0))
    other = opposite * point + (0 if opposite == 1 else torch.randn(1, 37, generator=torch.Generator().manual_seed(1)))
    ranks = rank(point.expand(231, -1), other.expand(231, -1), relevance, distance)
    for protocol in CLASS_LEVEL + INSTANCE_LEVEL:
        assert score(ranks, protocol) == chance(relevance, protocol), protocol.id


def test_chance_ranks_keep_queries_without_a_relevant_item():
    ranks = chance_ranks(Relevance(torch.tensor([0, 7, 1]), torch.tensor([0, 0, 1])))
    assert ranks.num_relevant.tolist() == [2, 0, 1]
    assert per_query(ranks, Protocol("median-rank", "label")).tolist() == [4 / 3, 4, 2]
