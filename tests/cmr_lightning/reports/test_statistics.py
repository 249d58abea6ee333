"""Intervals against SciPy's, Holm's correction and letters by hand."""

import math
from itertools import product

import numpy as np
import pytest
from scipy import stats

from cmr_lightning.reports.statistics import Summary, holm, letter_groups, letters, summary


def test_interval_of_the_mean_is_students():
    values = [0.31, 0.28, 0.35, 0.30, 0.33]
    interval = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    found = summary(values)
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert (found.n, found.mean, found.std) == (5, pytest.approx(np.mean(values)), pytest.approx(stats.tstd(values)))
    assert summary([0.3]) == Summary(1, 0.3)
    assert summary([0.25, 0.25, 0.25]) == Summary(3, 0.25, 0.0, (0.25, 0.25))


def test_interval_over_splits_is_wider_as_they_share_items_and_none_if_it_is_not_known_how_many():
    values = [0.31, 0.28, 0.35, 0.30, 0.33]
    half = stats.t.isf(0.025, 4) * stats.tstd(values) * math.sqrt(1 / 5 + 1 / 8)
    assert summary(values, 1 / 8).interval == pytest.approx((0.314 - half, 0.314 + half))
    assert summary(values, None) == Summary(5, summary(values).mean, summary(values).std)


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
