"""The statistics against SciPy's and ranx's, under a simulated null, and with a planted difference."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats

from cmr_lightning.errors import UserError
from cmr_lightning.evaluation import (
    Protocol,
    Ranks,
    Record,
    Relevance,
    load_ranks,
    measure,
    per_query,
    rank,
    save_ranks,
    score,
)
from cmr_lightning.reports.comparison import ScoredRun, check_comparable, compare, score_run
from cmr_lightning.reports.statistics import (
    LEVEL,
    Summary,
    holm,
    letter_groups,
    letters,
    pairwise_permutation_test,
    summary,
)

MAP = "map@all/cos/label"


def record(experiment: str = "wikipedia/daml", seed: int = 0, split: str = "a", **changes) -> Record:
    values = Record(
        experiment=experiment,
        method="DAML",
        dataset="Wikipedia",
        split={"name": f"split {split}", "checksum": split},
        data_checksum=f"data of {split}",
        protocol=MAP,
        seed=seed,
        selection={},
        encoders={"image": "FeatureMLP", "text": "FeatureMLP", "features": "SIFT; LDA"},
        versions={},
        git_revision=None,
        hardware={},
        metrics={MAP: {"i2t": 0.0, "t2i": 0.0, "mean": 0.0}},
        num_parameters=1,
        wall_time={},
        created="",
        config={},
    )
    return replace(values, **changes)


def scored(i2t: np.ndarray, t2i: np.ndarray, **changes) -> ScoredRun:
    """A run with the given scores of its units."""
    scores = {"i2t": i2t, "t2i": t2i, "mean": (i2t + t2i) / 2}
    metrics = {MAP: {direction: float(values.mean()) for direction, values in scores.items()}}
    return ScoredRun(record(metrics=metrics, **changes), scores)


def measured(noise: float, seed: int, protocol: Protocol, texts_per_image: int = 1, images: int = 60):
    """Embeddings of pairs with noise, measured: the record and the ranks."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(images, 8, generator=generator)
    owner = torch.arange(images).repeat_interleave(texts_per_image)
    text = image[owner] + noise * torch.randn(len(owner), 8, generator=generator)
    keys = {"instance": (torch.arange(images), owner), "label": (torch.arange(images) % 3, owner % 3)}
    found = measure(image, text, keys, [protocol])
    return record(protocol=protocol.id, metrics=found.metrics), found.ranks


def paired_permutation_test(a, b, rng: np.random.Generator, resamples: int = 10_000) -> float:
    """The test of one pair."""
    return pairwise_permutation_test(np.stack([a, b]), rng, resamples)[0, 1]


def answered(hit: np.ndarray) -> Ranks:
    """Ranks of queries with one relevant item each, in the first place or in the second."""
    ones = np.ones(len(hit), dtype=np.int32)
    return Ranks(np.arange(len(hit) + 1), (~hit).astype(np.int32), ones, ones, gallery_size=40)


# Over seeds -------------------------------------------------------------------------------------------------------


def test_interval_of_the_mean_is_students():
    values = [0.31, 0.28, 0.35, 0.30, 0.33]
    found = summary(values)
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert (found.n, found.mean, found.std) == (
        5,
        pytest.approx(np.mean(values)),
        pytest.approx(np.std(values, ddof=1)),
    )


def test_one_run_has_no_interval_and_equal_runs_a_point():
    assert summary([0.3]) == Summary(1, 0.3)
    assert summary([0.25, 0.25, 0.25]) == Summary(3, 0.25, 0.0, (0.25, 0.25))


# Over queries -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("discrete", [False, True])
def test_few_queries_are_tested_exactly_as_by_scipy(discrete):
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 9)) if discrete else rng.normal(size=(2, 9))
        expected = stats.permutation_test(
            (a, b), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert paired_permutation_test(a, b, rng) == pytest.approx(min(expected, 1))


def test_exact_p_value_by_explicit_loops():
    a, b = np.array([0.9, 0.7, 0.4, 0.8]), np.array([0.1, 0.3, 0.5, 0.2])
    flips = [abs(sum(s * d for s, d in zip(signs, a - b, strict=True))) for signs in product((1, -1), repeat=4)]
    expected = np.mean(np.array(flips) >= abs((a - b).sum()) - 1e-12)
    assert expected < 1
    assert paired_permutation_test(a, b, np.random.default_rng()) == expected


def test_stored_scores_are_tested_as_by_scipy_and_ranx(tmp_path):
    from ranx.statistical_tests import fisher_randomization_test

    rounds, rng = 10_000, np.random.default_rng(2)
    scores = []
    for seed in (0, 1):
        save_ranks(tmp_path / "ranks.npz", measured(1.0, seed, Protocol.parse(MAP), images=200)[1])
        scores.append(per_query(load_ranks(tmp_path / "ranks.npz")["t2i/cos/label"], Protocol.parse(MAP)))
    p = paired_permutation_test(*scores, rng, rounds)
    scipys = stats.permutation_test(
        scores,
        lambda x, y, axis: (x - y).mean(axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=rounds,
        batch=1000,
        rng=rng,
    ).pvalue
    ranxs, _ = fisher_randomization_test(*scores, n_permutations=rounds)
    assert 0.001 < p < 0.9, "p-values at the ends would agree by themselves"
    standard_error = math.sqrt(2 * p * (1 - p) / rounds)
    assert p == pytest.approx(scipys, abs=4 * standard_error)
    assert p == pytest.approx(ranxs, abs=4 * standard_error)


def test_no_p_value_is_zero_and_equal_systems_have_one():
    rng = np.random.default_rng(3)
    a = rng.normal(size=400)
    assert paired_permutation_test(a, a - 5, rng, resamples=999) == 1 / 1000
    assert paired_permutation_test(a, a, rng, resamples=999) == 1
    assert paired_permutation_test(a[:5], a[:5], rng) == 1


def test_all_pairs_at_once_are_the_pairs_one_by_one():
    scores = np.random.default_rng(4).normal(size=(4, 10))
    p = pairwise_permutation_test(scores, np.random.default_rng())
    for i, j in product(range(4), repeat=2):
        assert p[i, j] == paired_permutation_test(scores[i], scores[j], np.random.default_rng())


def test_blocks_do_not_change_the_test(monkeypatch):
    scores = np.random.default_rng(5).normal(size=(3, 12))
    whole = pairwise_permutation_test(scores, np.random.default_rng())
    monkeypatch.setattr("cmr_lightning.reports.statistics._BLOCK", 100)
    np.testing.assert_array_equal(pairwise_permutation_test(scores, np.random.default_rng()), whole)
    many = np.random.default_rng(5).normal(size=(3, 200))
    assert pairwise_permutation_test(many, np.random.default_rng(), 99)[0, 1] * 100 % 1 == pytest.approx(0)


def test_false_positives_under_the_null():
    """Heavy tails and queries unlike each other, but no difference: it is found in 5 % of the trials."""
    rng, trials = np.random.default_rng(6), 1500
    rejected = 0
    for _ in range(trials):
        difficulty = rng.uniform(0, 5, 60)
        a, b = difficulty + rng.standard_t(3, (2, 60)) * rng.uniform(0.1, 2, 60)
        rejected += paired_permutation_test(a, b, rng, resamples=499) <= LEVEL
    assert stats.binomtest(rejected, trials, LEVEL).pvalue > 0.01, f"{rejected / trials:.3f} rejected"


def test_captions_of_one_image_are_not_taken_for_independent():
    """Equal methods, with luck that an image's five captions share: as single queries they would often differ."""
    rng, trials, protocol = np.random.default_rng(7), 200, Protocol.parse("recall@1/cos/instance")
    by_unit = by_caption = 0
    for _ in range(trials):
        units, captions = [], []
        for _system in range(2):
            hit = np.repeat(rng.random(40) < 0.5, 5) ^ (rng.random(200) < 0.1)
            ranks = {"i2t/cos/instance": answered(rng.random(40) < 0.5), "t2i/cos/instance": answered(hit)}
            i2t, t2i = (score(part, protocol) for part in ranks.values())
            recorded = record(
                protocol=protocol.id, metrics={protocol.id: {"i2t": i2t, "t2i": t2i, "mean": (i2t + t2i) / 2}}
            )
            units.append(score_run(recorded, ranks).scores["t2i"])
            captions.append(per_query(ranks["t2i/cos/instance"], protocol))
        by_unit += paired_permutation_test(*units, rng, resamples=499) <= LEVEL
        by_caption += paired_permutation_test(*captions, rng, resamples=499) <= LEVEL
    assert stats.binomtest(by_unit, trials, LEVEL).pvalue > 0.01, f"{by_unit / trials:.3f} rejected"
    assert by_caption / trials > 0.2


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.7, 0.02]), [1.0, 1.0, 0.06])
    assert holm([]).shape == (0,)


# Groups -----------------------------------------------------------------------------------------------------------


def pairs(size: int, *different: tuple[int, int]) -> np.ndarray:
    result = np.zeros((size, size), dtype=bool)
    for i, j in different:
        result[i, j] = result[j, i] = True
    return result


def test_letters_of_a_chain():
    """Neighbours tie, others differ: a, ab, b."""
    groups = letter_groups(pairs(3, (0, 2)))
    assert groups == [{0, 1}, {1, 2}]
    assert [letters(groups, row) for row in range(3)] == ["a", "ab", "b"]


def test_letters_where_nothing_or_everything_differs():
    assert letter_groups(pairs(3)) == [{0, 1, 2}]
    groups = letter_groups(pairs(3, (0, 1), (0, 2), (1, 2)))
    assert [letters(groups, row) for row in range(3)] == ["a", "b", "c"]


def test_letters_say_exactly_what_differs():
    rng = np.random.default_rng(8)
    for _ in range(50):
        different = np.triu(rng.random((7, 7)) < 0.4, 1)
        different |= different.T
        groups = letter_groups(different)
        shared = [[bool(set(letters(groups, i)) & set(letters(groups, j))) for j in range(7)] for i in range(7)]
        np.testing.assert_array_equal(shared, ~different)
        assert not any(one < other for one, other in product(groups, repeat=2))


def test_more_groups_than_letters():
    groups = [frozenset({row}) for row in range(60)]
    assert [letters(groups, row) for row in (0, 25, 26, 51, 52, 59)] == ["a", "z", "A", "Z", ".a", ".h"]


# Runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [MAP, "recall@5/cos/instance", "rsum/cos/instance", "rsum/cos/instance/5fold"])
@pytest.mark.parametrize("texts_per_image", [1, 5])
def test_scores_of_a_run_have_its_metrics_as_mean(tmp_path, protocol, texts_per_image):
    recorded, ranks = measured(1.0, 0, Protocol.parse(protocol), texts_per_image)
    save_ranks(tmp_path / "ranks.npz", ranks)
    run = score_run(recorded, load_ranks(tmp_path / "ranks.npz"))
    for direction in ("i2t", "t2i", "mean"):
        assert run.scores[direction].shape == (60,)
        assert run.scores[direction].mean() == pytest.approx(recorded.metrics[protocol][direction])


def test_folds_of_unequal_size_count_alike():
    recorded, ranks = measured(1.0, 0, Protocol.parse("rsum/cos/instance/5fold"), images=58)
    assert len(score_run(recorded, ranks).scores["mean"]) == 58


def test_captions_of_an_image_are_one_unit():
    recorded, ranks = measured(1.0, 0, Protocol.parse("recall@1/cos/instance"), 5)
    captions = 100 * per_query(ranks["t2i/cos/instance"], Protocol.parse("recall@1/cos/instance"))
    np.testing.assert_allclose(score_run(recorded, ranks).scores["t2i"], captions.reshape(60, 5).mean(axis=1))


def test_queries_without_relevant_items_count_as_in_the_metric():
    image, text = torch.randn(4, 3), torch.randn(4, 3)
    keys = Relevance(torch.tensor([0, 1, 2, 9]), torch.tensor([0, 1, 2, 8]))
    ranks = {
        "i2t/cos/label": rank(image, text, keys, "cos"),
        "t2i/cos/label": rank(text, image, keys.transposed(), "cos"),
    }
    values = {name[:3]: float(per_query(part, Protocol.parse(MAP)).mean()) for name, part in ranks.items()}
    recorded = record(metrics={MAP: {**values, "mean": (values["i2t"] + values["t2i"]) / 2}})
    scores = score_run(recorded, ranks).scores
    assert scores["i2t"][3] == scores["t2i"][3] == 0
    assert (scores["i2t"][:3] > 0).all()


def test_ranks_of_another_run_are_refused():
    recorded, _ = measured(0.5, 0, Protocol.parse(MAP))
    _, others = measured(0.5, 1, Protocol.parse(MAP))
    with pytest.raises(UserError, match=r"wikipedia/daml, seed 0, split split a give i2t .* record says .*run `test`"):
        score_run(recorded, others)
    with pytest.raises(UserError, match="lack i2t/cos/label, t2i/cos/label; run `test` again"):
        score_run(recorded, {})


@pytest.mark.parametrize("protocol", ["median-rank/cos/instance", "map@50-hits-nonempty/cos/label"])
def test_metrics_that_are_no_means_have_no_test(protocol):
    recorded, ranks = measured(0.5, 0, Protocol.parse(protocol))
    with pytest.raises(UserError, match="is no mean over queries"):
        score_run(recorded, ranks)


# Comparisons ------------------------------------------------------------------------------------------------------


def test_a_planted_difference_is_found_and_a_null_is_not():
    rng = np.random.default_rng(9)
    difficulty = rng.uniform(0, 1, 300)

    def runs(name: str, i2t: float, t2i: float) -> list[ScoredRun]:
        def noisy(gain: float) -> np.ndarray:
            return difficulty + gain + 0.2 * rng.normal(size=300)

        return [scored(noisy(i2t), noisy(t2i), experiment=name, seed=seed) for seed in range(5)]

    experiments = {"ours": runs("ours", 0.05, 0), "same": runs("same", 0, 0), "random": runs("random", -0.3, -0.3)}
    found = compare(experiments, "same")
    assert list(found) == list(experiments)
    gain = found["ours"]["i2t"]
    assert gain.p_holm is not None and gain.p_holm <= LEVEL
    assert gain.difference == pytest.approx(0.05, abs=0.02)
    assert found["ours"]["t2i"].p_value > LEVEL
    assert [found[name]["i2t"].letters for name in experiments] == ["a", "b", "c"]
    assert [found[name]["t2i"].letters for name in experiments] == ["a", "a", "b"]
    assert found["random"]["mean"].p_holm <= 2 * found["random"]["mean"].p_value
    assert (found["same"]["i2t"].difference, found["same"]["i2t"].p_value, found["same"]["i2t"].p_holm) == (None,) * 3
    assert compare(experiments, "same") == found


def test_seeds_are_averaged_before_the_test():
    """Noise over seeds that hides a gain in each of them is averaged out."""
    rng = np.random.default_rng(10)
    base = rng.normal(size=100)
    noise = rng.normal(size=(4, 100))
    ours = [scored(base + 0.02 + n - noise.mean(axis=0), base, experiment="ours", seed=s) for s, n in enumerate(noise)]
    found = compare({"base": [scored(base, base, experiment="base")], "ours": ours}, "base")["ours"]["i2t"]
    assert found.difference == pytest.approx(0.02)
    assert found.p_value == 1 / 10_001


def test_units_of_several_splits_are_pooled():
    """Three units on each of three splits are tested as nine: of 2**9 flips two are as far."""
    zeros, ones = np.zeros(3), np.ones(3)
    experiments = {
        "a": [scored(zeros, zeros, experiment="a", seed=s, split=s_) for s, s_ in enumerate("xyz")],
        "b": [scored(ones, zeros, experiment="b", seed=s, split=s_) for s, s_ in enumerate("zyx")],
    }
    found = compare(experiments, "a")["b"]
    assert found["i2t"].p_value == 2 / 2**9
    assert found["t2i"].p_value == 1


def test_one_experiment_alone():
    found = compare({"a": [scored(np.ones(20), np.zeros(20), experiment="a")]})["a"]["mean"]
    assert (found.letters, found.difference) == ("a", None)


def test_an_unknown_reference_is_named():
    with pytest.raises(UserError, match="The reference triplet is not among the experiments a"):
        compare({"a": [scored(np.ones(20), np.ones(20))]}, "triplet")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"protocol": "map@50-hits/l2/label"},
            "a .* and b .* differ in protocol: map@all/cos/label against map@50-hits/l2",
        ),
        ({"dataset": "Shapes"}, "a .* and b .* differ in data set: Wikipedia against Shapes"),
        ({"encoders": {"features": "VGG"}}, "a .* and b .* differ in features: SIFT; LDA against VGG"),
        ({"split": "other"}, r"a and b .* differ in split: split a \(a\) against split other \(other\)"),
        ({"data_checksum": "ff"}, r"a .* and b .* differ in data \(checksum\): data of a against ff"),
    ],
)
def test_what_was_not_measured_alike_is_refused(changes, sentence):
    alike = {"a": [record("a")], "b": [record("b", seed=1)]}
    check_comparable(alike)
    with pytest.raises(UserError, match=sentence):
        check_comparable({**alike, "b": [record("b", **changes)]})


def test_seeds_of_one_experiment_on_other_data_are_refused():
    with pytest.raises(UserError, match=r"a \(seed 0\) and a \(seed 1\) cannot be compared"):
        check_comparable({"a": [record("a"), record("a", seed=1, data_checksum="ff")]})


def test_splits_must_agree_as_sets():
    both = [record("a", 0, "x"), record("a", 1, "y")]
    check_comparable({"a": both, "b": [record("b", 0, "y"), record("b", 1, "x")]})
    with pytest.raises(UserError, match=r"split: split x \(x\), split y \(y\) against split x \(x\)"):
        check_comparable({"a": both, "b": [record("b", 0, "x"), record("b", 1, "x")]})


def test_the_same_run_twice_is_refused():
    with pytest.raises(UserError, match="a has 2 runs with seed 0 on split split a; leave all but one out"):
        check_comparable({"a": [record("a"), record("a")]})
