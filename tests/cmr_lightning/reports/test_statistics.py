"""The statistics against SciPy's and ranx's, under a simulated null, and against loops by hand."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from cmr_lightning.reports.statistics import (
    LEVEL,
    Summary,
    holm,
    letter_groups,
    letters,
    pairwise_permutation_test,
    summary,
)


def paired_permutation_test(a, b, rng: np.random.Generator, resamples: int = 10_000) -> float:
    return pairwise_permutation_test(np.stack([a, b]), rng, resamples)[0, 1]


def test_interval_of_the_mean_is_students():
    values = [0.31, 0.28, 0.35, 0.30, 0.33]
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = summary(values)
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert (found.n, found.mean, found.std) == (5, pytest.approx(np.mean(values)), pytest.approx(stats.tstd(values)))
    assert summary([0.3]) == Summary(1, 0.3)
    assert summary([0.25, 0.25, 0.25]) == Summary(3, 0.25, 0.0, (0.25, 0.25))


@pytest.mark.parametrize("discrete", [False, True])
def test_few_queries_are_tested_exactly_as_by_scipy(discrete):
    rng = np.random.default_rng(1)
    for _ in range(20):
        a, b = rng.integers(0, 4, (2, 9)) if discrete else rng.normal(size=(2, 9))
        expected = stats.permutation_test(
            (a, b), lambda x, y, axis: (x - y).sum(axis), permutation_type="samples", n_resamples=np.inf
        ).pvalue
        assert paired_permutation_test(a, b, rng) == pytest.approx(min(expected, 1))


def test_many_queries_are_tested_as_by_scipy_and_ranx():
    from ranx.statistical_tests import fisher_randomization_test

    rounds, rng = 10_000, np.random.default_rng(2)
    a, b = rng.beta(1, 2, size=(2, 200)).round(2)
    p = paired_permutation_test(a, b + 0.02, rng, rounds)
    options = {"permutation_type": "samples", "vectorized": True, "n_resamples": rounds, "batch": 1000, "rng": rng}
    scipys = stats.permutation_test((a, b + 0.02), lambda x, y, axis: (x - y).mean(axis), **options).pvalue
    ranxs, _ = fisher_randomization_test(a, b + 0.02, n_permutations=rounds)
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


@pytest.mark.parametrize(
    ("p_values", "adjusted"),
    [([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]), ([0.6, 0.7, 0.02], [1.0, 1.0, 0.06]), ([], [])],
)
def test_holm_by_hand(p_values, adjusted):
    np.testing.assert_allclose(holm(p_values), adjusted)


@pytest.mark.parametrize(("apart", "expected"), [(1, ["a", "b", "c"]), (2, ["a", "ab", "b"]), (3, ["a", "a", "a"])])
def test_letters_of_rows_that_differ_from_some_distance_on(apart, expected):
    row = np.arange(3)
    groups = letter_groups(abs(row[:, None] - row) >= apart)
    assert [letters(groups, system) for system in row] == expected


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
